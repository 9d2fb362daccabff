"""What the database keeps for operators, and the way there from a database of before."""

import sqlite3
from pathlib import Path

import pytest

from incoming.core.errors import StorageFailed
from incoming.core.ticket import State
from incoming.storage.sqlite.reports import KEPT_FOR
from incoming.storage.sqlite.schema import MIGRATIONS, version_of
from tests.support.old_databases import old_database
from tests.support.stores import Clock, Stores


async def test_counts_are_added_and_facts_replaced(tmp_path: Path) -> None:
    clock = Clock(50.0)
    stores = Stores(tmp_path, clock)
    await stores.tickets.note("b", "long ago", {"x": 3})
    clock.now = 100.0
    await stores.tickets.note("a", "old", {"x": 1, "y": 0.5})
    clock.now = 101.0
    await stores.tickets.note("a", "new", {"x": 2})
    notes = await stores.tickets.notes(50)
    assert notes.facts == {"a": "new"}
    assert notes.counted == {"x": 6, "y": 0.5}
    assert notes.traffic == {}
    await stores.tickets.note("a", None, {})
    assert set((await stores.tickets.notes(101)).facts) == {"b"}
    clock.now = 51 + KEPT_FOR
    await stores.tickets.note("c", "much later", {})
    assert set((await stores.tickets.notes(clock.now)).facts) == {"c"}
    await stores.close()


async def test_every_state_entered_is_counted(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    await stores.new()
    await stores.finished()
    cancelled = await stores.cancelled("http://127.0.0.1:9/")
    await stores.tickets.forget(cancelled.id)
    counted = (await stores.tickets.notes(60)).counted
    assert {name: counted[name] for name in counted if name.startswith("entered/")} == {
        "entered/new": 3,
        "entered/uploading": 2,
        "entered/arrived": 1,
        "entered/finished": 1,
        "entered/cancelled": 1,
    }
    await stores.close()


async def test_latest(tmp_path: Path) -> None:
    clock = Clock()
    stores = Stores(tmp_path, clock)
    tickets = []
    for kind in (stores.new, stores.uploading, stores.finished, stores.uploading, stores.waiting):
        clock.advance(1)
        tickets.append(await kind())  # type: ignore[operator]
    ids = [ticket.id for ticket in tickets]
    found = await stores.tickets.latest((State.UPLOADING, State.WAITING), 10)
    assert [ticket.id for ticket in found] == [ids[4], ids[3], ids[1]]
    assert [ticket.id for ticket in await stores.tickets.latest((State.UPLOADING, State.WAITING), 2)] == [
        ids[4],
        ids[3],
    ]
    assert await stores.tickets.latest((), 2) == []
    await stores.close()


async def test_matching(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    tickets = [await stores.new() for _ in range(5)]
    for ticket in tickets:
        assert [found.id for found in await stores.tickets.matching(ticket.id[:8], 2)] == [ticket.id]
        assert [found.id for found in await stores.tickets.matching(ticket.id, 2)] == [ticket.id]
    assert await stores.tickets.matching("%", 2) == []
    assert len(await stores.tickets.matching("", 3)) == 3
    await stores.close()


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
async def test_a_database_of_before_is_brought_up_to_date(version: int, tmp_path: Path) -> None:
    ticket_id = "a197b8f5-fb74-434f-9df0-9a4048b857a7"
    old_database(tmp_path, version, ticket_id, b"half", 8, "http://127.0.0.1:9/")
    assert version_of(tmp_path / "incoming.sqlite") == version
    stores = Stores(tmp_path, Clock(100.0))
    assert version_of(tmp_path / "incoming.sqlite") == len(MIGRATIONS)
    ticket = await stores.tickets.get(ticket_id)
    assert ticket is not None
    assert (ticket.size, ticket.extents.size, ticket.state) == (8, 4, State.UPLOADING)
    await stores.tickets.note("a", "facts", {"x": 1}, traffic=10)
    assert (await stores.tickets.notes(60)).traffic == {10: 10}
    await stores.close()


def test_version_of_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no database at all, but long enough to look like one" * 100)
    with pytest.raises(StorageFailed):
        version_of(tmp_path / "x")
    sqlite3.connect(tmp_path / "empty").close()
    (tmp_path / "empty").touch()
    assert version_of(tmp_path / "empty") == 0
