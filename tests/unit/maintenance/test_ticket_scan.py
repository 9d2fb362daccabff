"""Walking through many tickets, a few at a time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.ticket import State
from incoming.maintenance import ticket_scan
from incoming.maintenance.ticket_scan import idle, older
from tests.support.stores import Clock, Stores


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stores(tmp_path: Path, clock: Clock, io_loop: IOLoop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    monkeypatch.setattr(ticket_scan, "BATCH", 5)
    stores = Stores(tmp_path / "storage", clock)
    yield stores
    io_loop.run_sync(stores.close)


@pytest.mark.parametrize("walk", [older, idle])
async def test_each_is_met_once_and_the_oldest_first(stores: Stores, clock: Clock, walk: object) -> None:
    made = []
    for number in range(23):
        clock.advance(number % 3)  # some in the same moment
        made.append((await stores.new()).id)
    await stores.uploading()
    found = [ticket async for ticket in walk(stores.tickets, (State.NEW,), clock() + 1)]  # type: ignore[operator]
    assert len(found) == 23
    assert {ticket.id for ticket in found} == set(made)
    assert [ticket.created_at for ticket in found] == sorted(ticket.created_at for ticket in found)


async def test_both_limits_of_the_scan_are_kept(stores: Stores, clock: Clock) -> None:
    made = []
    for _ in range(12):
        clock.advance(10)
        made.append(await stores.new())
    found = older(stores.tickets, (State.NEW,), made[10].state_since, after=made[2].state_since)
    assert [ticket.id async for ticket in found] == [ticket.id for ticket in made[2:10]]


async def test_many_tickets_of_one_moment_do_not_loop(stores: Stores, clock: Clock) -> None:
    for _ in range(17):
        await stores.new()
    clock.advance(1)
    last = await stores.new()
    found = [ticket.id async for ticket in older(stores.tickets, (State.NEW,), clock() + 1)]
    assert found[-1] == last.id
    assert len(found) == len(set(found))


async def test_removed_tickets_do_not_hide_others(stores: Stores, clock: Clock) -> None:
    for _ in range(12):
        clock.advance(1)
        await stores.new()
    met = 0
    async for ticket in older(stores.tickets, (State.NEW,), clock() + 1):
        await stores.tickets.forget(ticket.id)
        met += 1
    assert met == 12
