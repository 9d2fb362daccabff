"""What the database keeps for operators, and the way there from a database of before."""

import sqlite3
from pathlib import Path

import pytest

from incoming.core.errors import StorageFailed
from incoming.core.ticket import State
from incoming.storage.sqlite.schema import MIGRATIONS, version_of
from tests.support.old_databases import old_database
from tests.support.stores import Clock, Stores


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
async def test_an_older_database_is_upgraded(version: int, tmp_path: Path) -> None:
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


def test_the_version_of_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no database at all, but long enough to look like one" * 100)
    with pytest.raises(StorageFailed):
        version_of(tmp_path / "x")
    sqlite3.connect(tmp_path / "empty").close()
    (tmp_path / "empty").touch()
    assert version_of(tmp_path / "empty") == 0
