"""Look-ups of host names: no name's trouble holds up another one."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from incoming.callbacks import name_lookup
from incoming.callbacks.name_lookup import (
    CACHE_SECONDS,
    LOOKUP_TIMEOUT,
    MAX_CACHED,
    MAX_FAILING_LOOKUPS,
    MAX_LOOKUPS,
    USABLE,
    NameLookup,
)
from tests.support.stores import Clock, until

HANGING = "hanging"
FOREVER = 3600.0


class NameServer:
    """Knows every name that begins with "app"; the look-up of one that contains "hanging" lasts until `answer`."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.now_asking = 0
        self.address = "10.0.0.1"
        self.error = 0
        self._go = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, host: str, port: int, **kwargs: Any) -> list[Any]:
        with self._lock:
            self.asked[host] += 1
            self.now_asking += 1
        try:
            if HANGING in host:
                self._go.wait(20)
            if self.error or not host.startswith("app"):
                raise socket.gaierror(self.error or socket.EAI_NONAME, "no such name")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, port))]
        finally:
            with self._lock:
                self.now_asking -= 1

    def answer(self) -> None:
        self._go.set()


@pytest.fixture
def server(io_loop: IOLoop) -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.answer()
    io_loop.run_sync(end_look_ups)


async def end_look_ups() -> None:
    """Look-ups outlive those who asked, and must not outlive the loop."""
    await end([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])


@pytest.fixture
def clock() -> Clock:
    return Clock()


def ask(lookup: NameLookup, *hosts: str) -> list[asyncio.Task[Any]]:
    return [asyncio.get_running_loop().create_task(lookup.resolve(host, 80)) for host in hosts]


async def end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_slow_names_do_not_delay_others(server: NameServer, clock: Clock) -> None:
    lookup = NameLookup(server, clock)
    hanging = ask(lookup, *(f"{HANGING}-{number}" for number in range(50)))
    await until(lambda: server.now_asking == 50, "all of them to hang")
    assert await lookup.resolve("app.example", 80) == [(socket.AF_INET, ("10.0.0.1", 80))]
    assert not any(task.done() for task in hanging)
    await end(hanging)


async def test_addresses_and_known_names_need_no_look_up_however_many_hang(server: NameServer, clock: Clock) -> None:
    lookup = NameLookup(server, clock, patience=0.0)
    await lookup.resolve("app.example", 80)
    hanging = ask(lookup, *(f"{HANGING}-{number}" for number in range(10 * MAX_LOOKUPS)))
    await until(lambda: server.now_asking == MAX_LOOKUPS, "every place to be taken")
    for address in ("127.0.0.1", "::1", "127.1", "0x7f000001"):
        assert (await lookup.resolve(address, 80))[0][1][0] in ("127.0.0.1", "::1")
    assert await lookup.resolve("app.example", 80)
    clock.advance(USABLE - 1)  # no longer fresh: asked again, without result
    assert await lookup.resolve("app.example", 80) == [(socket.AF_INET, ("10.0.0.1", 80))]
    assert server.now_asking == MAX_LOOKUPS  # the number of threads is bounded
    assert server.asked["app.example"] == 1
    await end(hanging)


@pytest.mark.parametrize("seconds", [0.0, LOOKUP_TIMEOUT])
async def test_names_that_failed_or_were_slow_share_a_part_of_the_places(
    server: NameServer, clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    names = [f"app-{number}" if seconds else f"nowhere-{number}" for number in range(2 * MAX_FAILING_LOOKUPS)]
    ticks = Clock()
    lookup = NameLookup(server, lambda: (ticks.advance(seconds), ticks())[1])
    await asyncio.gather(*ask(lookup, *names), return_exceptions=True)
    ticks.advance(USABLE)
    held = threading.Event()
    asked: list[str] = []

    def hold(host: str, port: int, **kwargs: Any) -> list[Any]:
        asked.append(host)
        if host in names:
            held.wait(20)
        return server("app", port)

    monkeypatch.setattr(lookup, "_getaddrinfo", hold)
    again = ask(lookup, *names)
    assert await lookup.resolve("app.example", 80)
    assert len([host for host in asked if host in names]) <= MAX_FAILING_LOOKUPS
    held.set()
    await asyncio.gather(*again, return_exceptions=True)


async def test_one_lookup_serves_every_waiting_caller(server: NameServer, clock: Clock) -> None:
    lookup = NameLookup(server, clock)
    waiting = ask(lookup, *[f"app-{HANGING}"] * 50)
    await until(lambda: server.now_asking == 1, "the look-up")
    waiting[0].cancel()  # a caller that gives up takes no other one with it
    server.answer()
    found = await asyncio.gather(*waiting[1:])
    assert found == [[(socket.AF_INET, ("10.0.0.1", 80))]] * 49
    assert server.asked[f"app-{HANGING}"] == 1


async def test_a_result_is_used_again_for_a_short_time_only(server: NameServer, clock: Clock) -> None:
    lookup = NameLookup(server, clock, patience=FOREVER)
    await lookup.resolve("app.example", 80)
    server.address = "10.0.0.2"
    clock.advance(CACHE_SECONDS - 0.1)
    assert (await lookup.resolve("app.example", 80))[0][1] == ("10.0.0.1", 80)
    clock.advance(0.1)
    assert (await lookup.resolve("app.example", 80))[0][1] == ("10.0.0.2", 80)


async def test_known_names_survive_an_outage_of_the_name_server(server: NameServer, clock: Clock) -> None:
    lookup = NameLookup(server, clock, patience=FOREVER)
    await lookup.resolve("app.example", 80)
    server.error = socket.EAI_AGAIN
    for _ in range(3):
        clock.advance(USABLE / 4)
        assert await lookup.resolve("app.example", 80)
    clock.advance(USABLE / 4)
    with pytest.raises(socket.gaierror):
        await lookup.resolve("app.example", 80)
    assert server.asked["app.example"] == 5


async def test_a_removed_name_fails_at_once(server: NameServer, clock: Clock) -> None:
    lookup = NameLookup(server, clock, patience=FOREVER)
    await lookup.resolve("app.example", 80)
    clock.advance(CACHE_SECONDS)
    server.error = socket.EAI_NONAME
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await lookup.resolve("app.example", 80)


async def test_a_failure_is_not_remembered(server: NameServer, clock: Clock) -> None:
    lookup = NameLookup(server, clock)
    server.error = socket.EAI_NONAME
    with pytest.raises(socket.gaierror):
        await lookup.resolve("app.example", 80)
    server.error = 0
    assert await lookup.resolve("app.example", 80)


async def test_an_abandoned_lookup_is_not_started(server: NameServer, clock: Clock) -> None:
    lookup = NameLookup(server, clock)
    hanging = ask(lookup, *(f"{HANGING}-{number}" for number in range(MAX_LOOKUPS)))
    await until(lambda: server.now_asking == MAX_LOOKUPS, "every place to be taken")
    late = ask(lookup, "app.late")
    await asyncio.sleep(0)
    await end(late)
    server.answer()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert await lookup.resolve("app.example", 80)
    assert server.asked["app.late"] == 0


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "\ud800.example"])
async def test_what_cannot_be_a_name_is_a_value_error(clock: Clock, host: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        await NameLookup(clock=clock).resolve(host, 80)


async def test_memory_is_bounded(server: NameServer, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_lookup, "MAX_CACHED", 10)
    lookup = NameLookup(server, clock)
    for number in range(30):
        await lookup.resolve(f"app-{number}", 80)
    assert len(lookup._known) == 10
    assert MAX_CACHED > 100
