"""What can be wrong with a line, as values: the faults in force, and the count of those that were hit."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.proxied_connection import ProxiedConnection


class Direction(Enum):
    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


TO_SERVER, TO_CLIENT = Direction.TO_SERVER, Direction.TO_CLIENT
BOTH = (TO_SERVER, TO_CLIENT)


@dataclass
class Counters:
    """What happened so far; connections unless it says bytes."""

    accepted: int = 0
    unreachable: int = 0
    """The server did not take the connection."""
    bytes_to_server: int = 0
    bytes_to_client: int = 0
    stalled: int = 0
    """Pieces of data that had come and were held back by a stall."""
    cut: int = 0
    reset: int = 0
    half_opened: int = 0
    idle_closed: int = 0
    answered: int = 0
    upgrades_stripped: int = 0

    def add_bytes(self, direction: Direction, count: int) -> None:
        if direction is TO_SERVER:
            self.bytes_to_server += count
        else:
            self.bytes_to_client += count


class Throttle:
    """Shares a rate among all who ask: each reserves the next free stretch of time on the line."""

    def __init__(self) -> None:
        self._rate: float | None = None
        self._free_at = 0.0
        self._changed = asyncio.Event()

    def set_rate(self, rate: float | None) -> None:
        self._rate = rate
        self._free_at = 0.0
        self._changed.set()
        self._changed = asyncio.Event()

    def portion(self, wanted: int) -> int:
        """How many bytes to send at a time: a twentieth of a second's worth."""
        return wanted if self._rate is None else max(1, min(wanted, int(self._rate / 20)))

    async def pass_through(self, count: int) -> None:
        """Return when `count` bytes may go; at once after the rate was changed."""
        if self._rate is None:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + count / self._rate
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), self._free_at - now)


@dataclass
class Tripwire:
    """What happens to the first `times` connections over which `count` bytes went in `direction`."""

    count: int
    direction: Direction
    times: int
    fault: "Callable[[ProxiedConnection], object]"


def _open_gates() -> dict[Direction, asyncio.Event]:
    gates = {direction: asyncio.Event() for direction in BOTH}
    for gate in gates.values():
        gate.set()
    return gates


@dataclass
class Faults:
    """What is wrong at present, for all connections of a proxy."""

    flowing: dict[Direction, asyncio.Event] = field(default_factory=_open_gates)
    throttle: dict[Direction, Throttle] = field(default_factory=lambda: {direction: Throttle() for direction in BOTH})
    tripwire: Tripwire | None = None
    idle_limit: float | None = None
    answer: bytes | None = None
    strip_upgrade: bool = False
    source: str = ""
    """The address from which new connections come to the server; any if empty."""
