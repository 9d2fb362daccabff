"""Waiting for a condition instead of for a span of time."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, timeout: float = 20.0) -> T:
    """Return the first true value of `condition()`; after `timeout` seconds without one raise, naming `what`."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for: {what}")
        time.sleep(0.01)
    return value


async def until_idle() -> None:
    """Return when nothing more happens on this event loop before time passes or bytes come."""
    loop = asyncio.get_running_loop()
    while loop._ready:  # type: ignore[attr-defined] # noqa: ASYNC110 - nothing says when it is empty
        await asyncio.sleep(0)
