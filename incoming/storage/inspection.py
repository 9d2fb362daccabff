"""What is found when a ticket database is examined: facts, and faults with what to change. Knows no database."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact. With a `cure` it is a fault; `is_note` marks what is neither good nor bad."""

    text: str
    cure: str = ""
    is_note: bool = False


def judged(text: str, cure: str, *, is_good: bool) -> Fact:
    """Return the fact, as a fault unless it is good."""
    return Fact(text, "" if is_good else cure)
