"""Injects faults by their names, with random choices that can be repeated, and counts those that were hit."""

import os
import signal
from collections import Counter
from collections.abc import Callable

from tests.system.faults.fleet import chance_of


class Injector:
    """A subclass has a method for each fault, which returns whether it was hit."""

    def __init__(self, seed: int, note: Callable[[str], None], hits: Counter[str]) -> None:
        self._seed = seed
        self._note = note
        self._hits = hits
        self._number = 0
        self._chance = chance_of(seed)

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the faults, for a schedule."""
        return [name for name in vars(cls) if not name.startswith("_") and name not in NOT_FAULTS]

    def do(self, name: str) -> None:
        """Inject one fault, by its name. Its random choices depend on the seed and its place in the schedule."""
        self._number += 1
        self._chance = chance_of(self._seed, self._number, name)
        self._note(name)
        if getattr(self, name)():
            self._hits[name.replace("_", " ")] += 1


NOT_FAULTS = ("names", "do", "undo_due", "undo_all")


def send_signal(pid: int, number: signal.Signals) -> bool:
    """Send a signal; return False if the process has ended meanwhile."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
