"""Several workers on one directory and one database, as threads of this process and as processes that are killed."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from incoming.storage.sqlite import watcher
from incoming.storage.sqlite.schema import connect
from tests.support.stores import until
from tests.support.tools import ROOT
from tests.unit.storage.conftest import OpenTickets
from tests.unit.storage.tickets import new

# --- one database, two stores -----------------------------------------------------------------------------------------


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


async def test_watching_continues_after_an_error(
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


def test_changes_of_other_workers_are_polled_ten_times_a_second() -> None:
    """A worker is to hear of a cancellation made by another within a blink."""
    assert watcher.POLL_INTERVAL <= 0.1


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
