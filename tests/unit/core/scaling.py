"""Check that work grows linearly with its input, in CPU time, which is robust on a busy machine."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

FACTOR = 8
ALLOWED = 4 * FACTOR
"""Half of what quadratic work takes; neighbours that empty the caches cost a linear one a part of the rest."""


def assert_linear(make: Callable[[int], T], work: Callable[[T], object], small: int) -> None:
    """`work` on FACTOR times as much takes about FACTOR times as long, and never nearly its square."""
    inputs = make(small), make(FACTOR * small)
    short, long = (min(_cpu_seconds(work, each) for _ in range(7)) for each in inputs)
    assert long < ALLOWED * max(short, 0.0002), f"{short:.5f} s for {small}, {long:.5f} s for {FACTOR} times as much"


def _cpu_seconds(work: Callable[[T], object], value: T) -> float:
    start = time.thread_time()
    work(value)
    return time.thread_time() - start
