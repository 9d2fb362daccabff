"""A ticket survives being a row, whatever is in it and whichever release wrote it."""

import json
import sqlite3
from typing import Any

import pytest
from hypothesis import given

from incoming.core.errors import StorageFailed
from incoming.core.extents import Extents
from incoming.core.location import FILE, Location
from incoming.core.ticket import Callback, Identity, State, Ticket
from incoming.storage.ticket_row import COLUMNS, from_row, pack, to_row, unpack
from tests.unit.storage.tickets import NOW, any_ticket, new, owing


def through_sqlite(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row as SQLite gives it back."""
    connection = sqlite3.connect(":memory:")
    try:
        return connection.execute(f"SELECT {', '.join('?' * len(row))}", row).fetchone()  # type: ignore[no-any-return]
    finally:
        connection.close()


def changed(row: tuple[Any, ...], **columns: Any) -> list[Any]:
    return [columns.get(name, value) for name, value in zip(COLUMNS, row, strict=True)]


@given(any_ticket)
def test_a_ticket_survives_the_round_trip(ticket: Ticket) -> None:
    assert from_row(through_sqlite(to_row(ticket))) == ticket


def test_what_the_database_searches_by_is_in_columns() -> None:
    row = dict(zip(COLUMNS, to_row(owing(NOW + 5)), strict=True))
    assert (row["state"], row["active_at"], row["due_at"]) == ("arrived", NOW, NOW + 5)


def test_a_row_of_an_earlier_release_is_read() -> None:
    """Fields that did not exist get their defaults."""
    row = changed(
        to_row(new()),
        terms='{"signal_finish_url":"http://app/"}',
        rest=f'{{"created_at":{NOW},"callback":{{"id":"c","cancelled":true,"since":1.0,"due_at":2.0}}}}',
    )
    ticket = from_row(row)
    assert ticket.identity == Identity()
    assert ticket.callback == Callback("c", cancelled=True, since=1.0, due_at=2.0)
    assert (ticket.options.backend_secret, ticket.epoch, ticket.paused) == ("", 0, False)


def test_unknown_fields_are_dropped() -> None:
    ticket = new()
    row = to_row(ticket)
    known = dict(zip(COLUMNS, row, strict=True))
    rest, terms = json.loads(known["rest"]), json.loads(known["terms"])
    rest["gone"] = rest["identity"]["gone"] = terms["gone"] = [1]
    assert from_row(changed(row, rest=json.dumps(rest), terms=json.dumps(terms))) == ticket


@pytest.mark.parametrize(
    "damage",
    [{"rest": "{"}, {"rest": "[]"}, {"rest": "{}"}, {"rest": None}, {"terms": "{}"}, {"state": "lost"},
     {"extents": b"1234567"}, {"extents": bytes(8)}, {"extents": None}, {"synced": "x"}],
)  # fmt: skip
def test_a_damaged_row_is_an_error_of_the_tree(damage: dict[str, Any]) -> None:
    with pytest.raises(StorageFailed, match="damaged"):
        from_row(changed(to_row(new()), **damage))


def test_extents_are_packed_the_same_everywhere() -> None:
    """The layout is on the disks of every release: little-endian, 64 bits, starts and ends in turn."""
    extents = Extents([(0, 2), (2**40, 2**53 - 1)])
    packed = bytes.fromhex("0000000000000000 0200000000000000 0000000000010000 ffffffffffff1f00")
    assert pack(extents) == packed
    assert unpack(packed) == extents
    assert unpack(b"") == Extents()


def test_a_row_of_an_earlier_release_has_its_location() -> None:
    """It has a path, which is empty when the file of a failed handover was removed."""
    for path, location in (("/srv/id", Location(FILE, "/srv/id")), ("", Location())):
        row = list(to_row(new(state=State.FAILED)))
        rest = json.loads(row[COLUMNS.index("rest")])
        del rest["kind"], rest["file_kept"]
        row[COLUMNS.index("rest")] = json.dumps({**rest, "path": path})
        read = from_row(row)
        assert (read.location, read.file_kept) == (location, bool(path))
