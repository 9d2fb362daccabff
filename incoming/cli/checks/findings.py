"""What a check has found: facts that are as they should be, and faults with what to change.

Decides how both are printed and the exit code. What is a fault is each check's own business.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from incoming.server.log_format import printable


@dataclass
class Findings:
    """The findings of one check, in the order in which they were made."""

    title: str
    lines: list[str] = field(default_factory=list)
    faults: int = 0

    def good(self, fact: str) -> None:
        """Note what is as it should be."""
        self.lines.append(f"ok     {printable(fact)}")

    def note(self, fact: str) -> None:
        """Note what an operator may want to know."""
        self.lines.append(f"note   {printable(fact)}")

    def fault(self, fact: str, cure: str) -> None:
        """Note what is wrong, and what to change."""
        self.faults += 1
        self.lines += [f"FAULT  {printable(fact)}", f"       change: {printable(cure)}"]

    @property
    def code(self) -> int:
        """The exit code: 0 without a fault."""
        return 1 if self.faults else 0

    def summary(self) -> str:
        """Return the last line."""
        return f"{self.title}: {'no fault' if not self.faults else f'{self.faults} to change'}"
