"""Several workers on one directory and one database, as threads of this process and as processes that are killed."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from incoming.core.extents import Extents
from incoming.core.ticket import State
from incoming.storage.sqlite import watcher
from incoming.storage.sqlite.schema import connect
from incoming.storage.sqlite.store import SqliteStore
from tests.support.stores import until
from tests.support.tools import ROOT
from tests.unit.storage.conftest import OpenTickets
from tests.unit.storage.tickets import NOW, new, owing

# --- one database, two stores -----------------------------------------------------------------------------------------


async def test_one_sees_what_the_other_does(open_tickets: OpenTickets) -> None:
    one, two = open_tickets(), open_tickets()
    await one.create(ticket := new())
    changed = await two.update(ticket.id, lambda known: known.open("session1", None, NOW))
    assert await one.get(ticket.id) == changed
    again = await one.update(ticket.id, lambda known: known.open("session2", None, NOW))
    assert again.version > changed.version
    await two.forget(ticket.id)
    assert await one.get(ticket.id) is None


async def test_changes_elsewhere_are_told(open_tickets: OpenTickets) -> None:
    one, two, three = open_tickets(), open_tickets(), open_tickets()
    heard: dict[str, list[str]] = {"one": [], "two": []}
    one.watch(heard["one"].append)
    two.watch(heard["two"].append)
    tickets = [new() for _ in range(20)]
    for ticket in tickets:
        await three.create(ticket)
    ids = {ticket.id for ticket in tickets}
    await until(lambda: set(heard["one"]) == set(heard["two"]) == ids, "news of all tickets")
    heard["one"].clear()
    await two.update(tickets[3].id, lambda known: replace(known, reason="x"))
    assert heard["two"][-1] == tickets[3].id
    await until(lambda: heard["one"] == [tickets[3].id], "news of the one ticket, once")


async def test_quiet_changes_are_news_elsewhere_only(open_tickets: OpenTickets) -> None:
    one, two = open_tickets(), open_tickets()
    await one.create(ticket := new())
    heard: dict[str, list[str]] = {"one": [], "two": []}
    one.watch(heard["one"].append)
    two.watch(heard["two"].append)
    changed = await one.update(ticket.id, lambda known: replace(known, reason="quiet"), quiet=True)
    assert changed.version > ticket.version
    await until(lambda: heard["two"] == [ticket.id], "the news in the other process")
    await two.create(last := new())
    await until(lambda: last.id in heard["one"], "later news")
    assert ticket.id not in heard["one"]


async def test_own_changes_come_once_also_among_others(open_tickets: OpenTickets) -> None:
    one, two = open_tickets(), open_tickets()
    await one.create(mine := new())
    await two.create(theirs := new())
    heard: list[str] = []
    one.watch(heard.append)
    for turn in range(20):
        await one.update(mine.id, lambda known, turn=turn: replace(known, reason=str(turn)))
        await two.update(theirs.id, lambda known, turn=turn: replace(known, reason=str(turn)))
    await two.create(last := new())
    await until(lambda: last.id in heard, "the last news")
    assert heard.count(mine.id) == 20
    assert 1 <= heard.count(theirs.id) <= 20


async def test_a_change_rolled_back_here_hides_none_made_elsewhere(open_tickets: OpenTickets) -> None:
    """Its version numbers are given again, to another process's change."""
    one, two = open_tickets(), open_tickets()
    heard: list[str] = []
    one.watch(heard.append)
    await one.create(mine := new())

    def fail(known: object) -> object:
        raise ZeroDivisionError

    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await one.update(mine.id, fail)  # type: ignore[arg-type]
        await two.create(other := new())
        await until(lambda other=other: other.id in heard, "news of the other's ticket")  # type: ignore[misc]


async def test_watching_survives_a_database_put_back(open_tickets: OpenTickets, tmp_path: Path) -> None:
    one, two = open_tickets(), open_tickets()
    heard: list[str] = []
    one.watch(heard.append)
    await two.create(ticket := new())
    await until(lambda: heard, "the first news")
    backup = connect(tmp_path / "incoming.sqlite")
    backup.execute("UPDATE meta SET value = 0 WHERE key = 'version'")
    backup.execute("DELETE FROM tickets")
    await until(lambda: one._watcher is not None and one._watcher._seen == 0, "the versions' return to 0")
    backup.close()
    await two.create(ticket)
    await until(lambda: heard.count(ticket.id) == 2, "news after that")


async def test_watching_goes_on_after_an_error(
    open_tickets: OpenTickets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = open_tickets(), open_tickets()
    heard: list[str] = []
    one.watch(heard.append)
    other = connect(tmp_path / "incoming.sqlite")
    other.execute("ALTER TABLE meta RENAME TO elsewhere")
    await until(lambda: "no such table" in caplog.text, "the error")
    other.execute("ALTER TABLE elsewhere RENAME TO meta")
    other.close()
    await two.create(ticket := new())
    await until(lambda: ticket.id in heard, "news after that")


async def test_no_two_get_the_same_callback(open_tickets: OpenTickets) -> None:
    stores = [open_tickets() for _ in range(4)]
    for number in range(100):
        await stores[number % 4].create(owing(NOW - number))
    taken = await asyncio.gather(*(store.claim(60, 10, 3600) for _ in range(5) for store in stores))
    ids = [ticket.id for claimed in taken for ticket in claimed]
    assert len(ids) == len(set(ids)) == 100


async def test_exactly_one_wins(open_tickets: OpenTickets) -> None:
    stores = [open_tickets() for _ in range(4)]
    await stores[0].create(ticket := new(state=State.UPLOADING))

    async def arrive(store: SqliteStore, number: int) -> bool:
        def change(known):  # type: ignore[no-untyped-def]
            return known.arrive(f"/{number}", owing(NOW).callback, NOW) if known.state == State.UPLOADING else known

        return (await store.update(ticket.id, change)).path == f"/{number}"

    won = await asyncio.gather(*(arrive(store, number) for number, store in enumerate(stores * 5)))
    assert won.count(True) == 1


async def test_nothing_is_lost_between_workers(open_tickets: OpenTickets) -> None:
    stores = [open_tickets() for _ in range(3)]
    await stores[0].create(ticket := new(state=State.UPLOADING))
    await asyncio.gather(
        *(
            store.update(ticket.id, lambda known, at=at: known.store([(at, at + 1)], None, NOW), durable=False)
            for number, store in enumerate(stores)
            for at in range(number, 600, 3)
        )
    )
    known = await stores[0].get(ticket.id)
    assert known is not None
    assert known.extents == Extents([(0, 600)])


def test_looks_often_enough() -> None:
    """A worker is to hear of a cancellation made by another within a blink."""
    assert watcher.INTERVAL <= 0.1


# --- processes that are killed ----------------------------------------------------------------------------------------

WRITER = """
import asyncio, json, random, sys, uuid
from pathlib import Path
from incoming.core.ticket import TicketOptions, Ticket, State
from incoming.storage.filesystem.store import FileStore
from incoming.storage.sqlite.store import SqliteStore

async def upload(files, tickets, number):
    ticket = Ticket(str(uuid.uuid4()), TicketOptions("http://app/"), 1.0, 1.0, 1.0, state=State.UPLOADING)
    await tickets.create(ticket)
    offset = 0
    while True:
        data = random.Random(ticket.id + str(offset)).randbytes(random.randrange(1, 5000))
        await files.write(ticket, [(offset, data)])
        end = offset + len(data)
        await tickets.update(ticket.id, lambda known: known.store([(offset, end)], None, 1.0), durable=False)
        print(json.dumps([ticket.id, offset, end]), flush=True)
        offset = end

async def main(root):
    files, tickets = FileStore(root), SqliteStore(root / "incoming.sqlite")
    await asyncio.gather(*(upload(files, tickets, number) for number in range(8)))

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two workers that begin on an empty directory at the same time."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(2)
    ]
    yield processes
    for process in processes:
        process.kill()
        with process:
            pass  # waits for its end and closes its pipe


@pytest.mark.parametrize("acks", [1, 20, 100, 500])
async def test_whatever_was_acked_survives_a_kill(
    writers: list[subprocess.Popen[str]], open_tickets: OpenTickets, tmp_path: Path, acks: int
) -> None:
    acked: list[tuple[str, int, int]] = []
    for process in writers:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acks)]
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0].splitlines()
        assert process.returncode == -signal.SIGKILL
        acked += [json.loads(line) for line in (*lines, *rest) if line.endswith(("]\n", "]"))]
    assert len(acked) >= 2 * acks
    tickets = open_tickets()
    for ticket_id, start, end in acked:
        known = await tickets.get(ticket_id)
        assert known is not None
        assert known.extents.covers(start, end)
        assert (tmp_path / ticket_id[:2] / f"{ticket_id}.part").stat().st_size >= known.extents.prefix
    for ticket_id, start, end in acked:
        expected = random.Random(ticket_id + str(start))
        with (tmp_path / ticket_id[:2] / f"{ticket_id}.part").open("rb") as file:
            file.seek(start)
            assert file.read(end - start) == expected.randbytes(end - start)
