"""CPU seconds and peak memory of a process and its children, or the whole machine, from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """`cpu` in seconds, user and system; `peak` and `resident` are sums over the processes, in bytes."""

    cpu: float
    peak: int
    resident: int

    def __sub__(self, before: Cost) -> Cost:
        return Cost(self.cpu - before.cpu, self.peak, self.resident)


def cost(pid: int) -> Cost:
    """Return the cost of the process and its descendants."""
    cpu, peak, resident = 0.0, 0, 0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        cpu += (int(fields[11]) + int(fields[12])) / TICK
        memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in status.splitlines() if " kB" in line}
        peak += memory.get("VmHWM", 0)
        resident += memory.get("VmRSS", 0)
    return Cost(cpu, peak, resident)


def machine() -> tuple[float, float]:
    """Return the seconds for which all processors together were busy and idle; waiting for a disk is idle."""
    told = [int(number) / TICK for number in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = told[3] + told[4]
    return sum(told) - idle, idle


def family(pid: int) -> set[int]:
    """Return the process and its live descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    queue = [pid]
    while queue:
        member = queue.pop()
        found.add(member)
        queue += children.get(member, [])
    return found
