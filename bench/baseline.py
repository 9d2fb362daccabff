"""Compare the ratios of a run with those that were committed for machines of the same type.

Decides what counts as the same type, and when a ratio is worse. Knows nothing of how it was measured.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BASELINE = Path(__file__).resolve().parent / "baseline.json"
TOLERANCE = 0.25
"""Share by which a ratio may be worse than the committed one."""


@dataclass(frozen=True)
class Row:
    """A figure of ours by that of a peer in the same run. `more` says that a higher ratio is better."""

    name: str
    ratio: float
    more: bool

    def loss(self, before: float) -> float:
        """Return the share by which this ratio is worse than `before`; negative if it is better."""
        return 1 - self.ratio / before if self.more else self.ratio / before - 1


def machine_type(cpuinfo: str | None = None) -> str:
    """Return processor, architecture and number of cores, which results of one type of machine have in common."""
    text = Path("/proc/cpuinfo").read_text() if cpuinfo is None else cpuinfo
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{models[0] if models else 'unknown processor'}, {platform.machine()}, {os.cpu_count()} cores"


def load(machine: str, path: Path = BASELINE) -> dict[str, float] | None:
    """Return the committed ratios of this type of machine by name; None if there are none."""
    known = json.loads(path.read_text()) if path.exists() else {}
    found: dict[str, float] | None = known.get(machine)
    return found


def record(machine: str, rows: list[Row], path: Path = BASELINE) -> None:
    """Write these ratios in place of those of the same type of machine; others stay."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known[machine] = {row.name: round(row.ratio, 3) for row in rows}
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


def regressions(rows: list[Row], before: Mapping[str, float]) -> list[Row]:
    """Return the rows whose ratio is worse than the committed one by more than TOLERANCE. New rows are not compared."""
    return [row for row in rows if row.name in before and row.loss(before[row.name]) > TOLERANCE]


def report(rows: list[Row], before: Mapping[str, float]) -> str:
    """Return a table of the ratios, the committed ones, and the change; a minus is worse."""
    lines = [f"{'ratio':64} {'now':>7} {'before':>7} {'change':>8}"]
    for row in rows:
        known = before.get(row.name)
        change = "new" if known is None else f"{-100 * row.loss(known):+.0f} %"
        lines.append(f"{row.name:64} {row.ratio:7.2f} {'-' if known is None else f'{known:.2f}':>7} {change:>8}")
    return "\n".join(lines)
