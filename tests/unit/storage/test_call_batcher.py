"""Small blocking calls: done in order by one thread, by more when one blocks; each gets its own answer."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from incoming.core.errors import ServerShutdown
from incoming.storage.call_batcher import MAX_BATCH, CallBatcher


@pytest.fixture
def batcher() -> Iterator[CallBatcher[Any, Any]]:
    made: CallBatcher[Any, Any] = CallBatcher(3, "batcher-test", list)
    yield made
    made.close()
    made.join()


class Blocked:
    """A call that blocks until it is let go."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> str:
        self.started.set()
        assert self.go_on.wait(20)
        return "blocked"


async def begun(batcher: CallBatcher[Any, Any], call: Blocked) -> "asyncio.Task[str]":
    task = asyncio.ensure_future(batcher.run(call))
    await asyncio.sleep(0)
    await asyncio.get_running_loop().run_in_executor(None, call.started.wait, 20)
    return task


async def test_all_that_waits_is_done_in_order_by_one_thread(
    batcher: CallBatcher[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.storage.call_batcher.SLOW_CALL", 20.0)
    done: list[int] = []
    threads: set[int] = set()

    def work(number: int) -> Callable[[], int]:
        def call() -> int:
            done.append(number)
            threads.add(threading.get_ident())
            return -number

        return call

    count = 5 * MAX_BATCH + 3
    first = Blocked()
    blocked = await begun(batcher, first)
    tasks = [asyncio.ensure_future(batcher.run(work(number))) for number in range(count)]
    await asyncio.sleep(0)
    first.go_on.set()
    assert await asyncio.gather(*tasks) == [-number for number in range(count)]
    assert await blocked == "blocked"
    assert done == list(range(count))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_an_error_reaches_only_its_own_caller(batcher: CallBatcher[Any, Any]) -> None:
    def fail() -> None:
        raise OSError("mine")

    outcome = await asyncio.gather(
        batcher.run(lambda: 1), batcher.run(fail), batcher.run(lambda: 2), return_exceptions=True
    )
    assert outcome[0] == 1
    assert isinstance(outcome[1], OSError)
    assert outcome[2] == 2


async def test_a_blocking_call_delays_no_other(batcher: CallBatcher[Any, Any]) -> None:
    """Neither those behind it nor the answers of those before it, which one thread was to give together."""
    stuck = Blocked()
    before = asyncio.ensure_future(batcher.run(lambda: "before"))
    blocked = asyncio.ensure_future(batcher.run(stuck))
    after = asyncio.ensure_future(batcher.run(lambda: "after"))
    assert await asyncio.wait_for(asyncio.gather(before, after), 20) == ["before", "after"]
    assert stuck.started.is_set()
    assert not blocked.done()
    stuck.go_on.set()
    assert await blocked == "blocked"


async def test_no_more_threads_than_allowed(batcher: CallBatcher[Any, Any]) -> None:
    stuck = [Blocked() for _ in range(3)]
    blocked = [await begun(batcher, call) for call in stuck]
    after = asyncio.ensure_future(batcher.run(lambda: "after"))
    turns = asyncio.ensure_future(asyncio.sleep(0.05))  # several times SLOW_CALL
    await turns
    assert not after.done()
    for call in stuck:
        call.go_on.set()
    assert await asyncio.gather(*blocked, after) == ["blocked"] * 3 + ["after"]


async def test_it_works_again_after_being_idle(batcher: CallBatcher[Any, Any]) -> None:
    for number in range(50):
        assert await batcher.run(lambda number=number: number) == number  # type: ignore[misc]


async def test_a_cancelled_caller_gets_no_answer(batcher: CallBatcher[Any, Any]) -> None:
    stuck = Blocked()
    task = await begun(batcher, stuck)
    task.cancel()
    stuck.go_on.set()
    assert await batcher.run(lambda: "after") == "after"
    assert task.cancelled()


async def test_calls_made_before_the_end_are_done(batcher: CallBatcher[Any, Any]) -> None:
    stuck = Blocked()
    blocked = await begun(batcher, stuck)
    waiting = [asyncio.ensure_future(batcher.run(lambda: "waiting")) for _ in range(3)]
    await asyncio.sleep(0)
    batcher.close()
    with pytest.raises(ServerShutdown):
        await batcher.run(lambda: "late")
    stuck.go_on.set()
    await asyncio.get_running_loop().run_in_executor(None, batcher.join)
    assert await asyncio.gather(blocked, *waiting) == ["blocked"] + ["waiting"] * 3


async def test_calls_that_wait_are_prepared_together() -> None:
    groups: list[int] = []

    def prepare(calls: Sequence[Callable[[], object]]) -> Sequence[Callable[[], object]]:
        groups.append(len(calls))
        return calls

    made: CallBatcher[Callable[[], object], object] = CallBatcher(1, "batcher-test", prepare)
    first = Blocked()
    blocked = await begun(made, first)
    waiting = [asyncio.ensure_future(made.run(lambda number=number: number)) for number in range(MAX_BATCH + 3)]  # type: ignore[misc]
    await asyncio.sleep(0)
    first.go_on.set()
    assert await asyncio.gather(*waiting) == list(range(MAX_BATCH + 3))
    assert groups == [1, MAX_BATCH, 3]
    assert await blocked == "blocked"
    made.close()
    made.join()
