"""Whether work grows as its input does, in CPU time, so that a busy machine does not matter."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def assert_linear(make: Callable[[int], T], work: Callable[[T], object], small: int, factor: int = 8) -> None:
    """`work(make(factor * small))` takes about `factor` times as long as `work(make(small))`; twice that is allowed."""
    inputs = make(small), make(factor * small)
    short, long = (min(_cpu_seconds(work, each) for _ in range(5)) for each in inputs)
    assert long < 2 * factor * max(short, 0.0005), f"{short:.4f} s for {small}, {long:.4f} s for {factor} times as much"


def _cpu_seconds(work: Callable[[T], object], value: T) -> float:
    start = time.thread_time()
    work(value)
    return time.thread_time() - start
