"""How large a file may be, by the limits of server and ticket, and how much quota it uses until it is complete."""

from __future__ import annotations

from incoming.core.errors import FileTooLarge

RESERVATION_STEP = 64 * 1024**2
"""Bytes that an upload without a maxSize reserves of the quota at a time."""


def check_size(size: int, *limits: int, at_least: bool = False) -> None:
    """Raise FileTooLarge when a file of `size` bytes is above a limit; 0 is no limit.

    `at_least`: `size` is a lower bound, because the file's length is not known.
    """
    limit = min((limit for limit in limits if limit), default=size)
    if size > limit:
        raise FileTooLarge(f"the file has {'at least ' if at_least else ''}{size} bytes, the limit is {limit}")


def reservation(arrived: int, size: int | None, max_size: int) -> int:
    """Return the bytes of the quota that an upload uses when `arrived` bytes of `size` (None: unknown) are stored.

    With a `max_size` of the app that is the whole file. Without one (0) a client can claim any size, and uses one step
    beyond what has arrived.
    """
    if size is None:
        return arrived
    return size if max_size else min(size, (arrived // RESERVATION_STEP + 1) * RESERVATION_STEP)
