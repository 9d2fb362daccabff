"""The database file: made once, by however many at once, brought up to date, refused when it is from the future."""

import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from incoming.core.errors import StorageFailed
from incoming.core.ticket import Identity, State
from incoming.storage.sqlite import schema
from incoming.storage.sqlite.schema import MIGRATIONS, connect, open_database
from incoming.storage.sqlite.store import SqliteStore
from incoming.storage.ticket_row import COLUMNS, to_row
from tests.unit.storage.conftest import OpenTickets
from tests.unit.storage.tickets import NOW, new, owing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "incoming.sqlite"


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def test_made_with_its_mode_whatever_the_umask(path: Path) -> None:
    old = os.umask(0o077)
    try:
        open_database(path, 0o660)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert version(path) == len(MIGRATIONS)


def test_the_mode_of_an_existing_one_is_the_operators(path: Path) -> None:
    open_database(path, 0o640)
    path.chmod(0o600)
    open_database(path, 0o640)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_many_threads_may_open_it_at_once(path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: open_database(path, 0o640), range(32)))
    connection = connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("SELECT COUNT(*) FROM meta").fetchone() == (3,)
    connection.close()


async def test_one_of_a_later_release_is_refused_and_left_alone(path: Path) -> None:
    open_database(path, 0o640)
    connection = connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(StorageFailed, match=f"has version {len(MIGRATIONS) + 1}, this release knows up to") as refusal:
        SqliteStore(path)
    assert str(path) not in refusal.value.message
    assert version(path) == len(MIGRATIONS) + 1


async def test_what_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"precious" * 1000)
    with pytest.raises(StorageFailed, match="not a database"):
        SqliteStore(path)
    assert path.read_bytes() == b"precious" * 1000


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SqliteStore(tmp_path / "gone" / "incoming.sqlite")


@pytest.mark.parametrize("known", range(1, len(MIGRATIONS)))
async def test_a_database_of_any_earlier_release_is_upgraded(
    path: Path, open_tickets: OpenTickets, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    ticket = owing(NOW)
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", MIGRATIONS[:known])
        open_database(path, 0o640)
    connection = connect(path)
    row = dict(zip(COLUMNS, to_row(ticket), strict=True))
    there = [column[1] for column in connection.execute("PRAGMA table_info(tickets)") if column[1] in row]
    connection.execute(
        f"INSERT INTO tickets ({', '.join(there)}) VALUES ({', '.join('?' * len(there))})",
        [row[name] for name in there],
    )
    connection.close()
    assert version(path) == known
    tickets = open_tickets()
    assert await tickets.get(ticket.id) == ticket
    assert (await tickets.counts())[State.ARRIVED] == 1
    assert [claimed.id for claimed in await tickets.claim(60, 10, 3600)] == [ticket.id]
    await tickets.create(new())
    assert version(path) == len(MIGRATIONS)


async def test_what_uploads_of_an_earlier_release_take_is_summed_up(
    path: Path, open_tickets: OpenTickets, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", MIGRATIONS[:2])
        open_database(path, 0o640)
    connection = connect(path)
    for state, size in ((State.UPLOADING, 600), (State.WAITING, 300), (State.FINISHED, 9000), (State.UPLOADING, None)):
        row = to_row(new(state=state, identity=Identity("a", size)))
        connection.execute(f"INSERT INTO tickets VALUES ({', '.join('?' * 10)})", row[:10])
    connection.execute("INSERT INTO tickets VALUES ('damaged', 1, 'new', 1, 1, 1, '', '', 'no', 'no')")
    connection.close()
    open_tickets()
    connection = connect(path)
    assert dict(connection.execute("SELECT name, value FROM sums")) == {"bytes": 900, "open/": 4}
    connection.close()


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(path, 0o640)
    broken = (*MIGRATIONS, ("CREATE TABLE half (x)", "CREATE TABLE meta (x)"))
    with monkeypatch.context() as later:
        later.setattr(schema, "MIGRATIONS", broken)
        with pytest.raises(StorageFailed, match="already exists"):
            open_database(path, 0o640)
    connection = connect(path)
    assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchone() is None
    connection.close()
    assert version(path) == len(MIGRATIONS)
