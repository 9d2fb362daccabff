"""However much there is to do, nothing takes the event loop for long at a time: measured in CPU time of its thread.

That calls which block are made on other threads is test_event_loop.py's.
"""

import asyncio
import gc
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from incoming.core.extents import Extents
from incoming.core.ticket import Identity, State, Ticket
from incoming.maintenance.recovery import recover
from incoming.settings.settings import Settings
from incoming.storage.sqlite.schema import open_database
from tests.support.one_worker import one_worker
from tests.support.raw_http import RawConnection, request
from tests.support.raw_websocket import RawWebSocket, chunk
from tests.unit.storage.tickets import fill, new

MANY = 3000
MIB = 1024 * 1024
LONGEST = 0.05
"""CPU seconds that one turn may take. What is measured here takes a tenth of it; a busy machine makes that more."""


class Turns:
    """The longest turn of the event loop, and whose it was."""

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        self.whose = ""
        self.over = False

    def note(self, seconds: float, whose: object) -> None:
        if self.over:
            return
        self.count += 1
        if seconds > self.longest:
            self.longest, self.whose = seconds, repr(whose)


@contextmanager
def turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[Turns]:
    """Counts until it is left. The garbage of all other tests is none of this one's business."""
    found = Turns()
    run = asyncio.Handle._run

    def measured(handle: asyncio.Handle) -> None:
        whose = getattr(handle._callback, "__self__", handle._callback)
        before = time.thread_time()
        run(handle)
        found.note(time.thread_time() - before, whose)

    gc.collect()
    gc.disable()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.Handle, "_run", measured)
            yield found
    finally:
        found.over = True  # the turn in which that happens ends later
        gc.enable()


def prepare(storage: Path, tickets: list[Ticket]) -> None:
    storage.mkdir()
    open_database(storage / "incoming.sqlite", 0o600)
    fill(storage / "incoming.sqlite", tickets)


def aged(number: int, age: float, state: State = State.UPLOADING) -> Ticket:
    """One of MANY, each a little younger than the one before; all are older than `age`."""
    times = dict.fromkeys(("created_at", "active_at", "state_since"), time.time() - age - 100 + number / MANY)
    identity = Identity(name=f"{number}.bin", size=10**9)
    return new(version=number + 1, state=state, identity=identity, **times)


async def test_status_page_and_metrics_of_thousands_of_uploads_block_no_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets = [aged(number, 0) for number in range(MANY)]
    prepare(tmp_path / "storage", tickets)
    async with one_worker(tmp_path / "storage") as worker:
        for number, ticket in enumerate(tickets):
            worker.services.connections.enter(ticket.id, "websocket", f"10.0.{number // 250}.{number % 250}")
        with turns(monkeypatch) as found:
            now = json.loads((await worker.fetch("GET", "/incoming/status/now")).body)
            assert now["sending"] > 1000
            assert b"incoming_uploads" in (await worker.fetch("GET", "/incoming/metrics")).body
    assert found.longest < LONGEST, found.whose


async def test_removing_thousands_of_tickets_blocks_no_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tickets = [
        aged(number, Settings().tombstone_time, State.FINISHED if number % 2 else State.NEW) for number in range(MANY)
    ]
    prepare(tmp_path / "storage", tickets)
    monkeypatch.setattr("incoming.maintenance.ticket_scan.BATCH_DELAY", 0)
    async with one_worker(tmp_path / "storage") as worker:
        with turns(monkeypatch) as found:
            await worker.services.janitor.sweep()
        counts = await worker.services.tickets.counts()
    assert (counts[State.NEW], counts[State.FINISHED], counts[State.CANCELLED]) == (0, 0, MANY // 2)
    assert found.count > MANY
    assert found.longest < LONGEST, found.whose


async def test_recovering_thousands_of_uploads_blocks_no_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes are noted of which there is no file: each ticket has to be changed."""
    noted = Extents([(0, 1000)])
    tickets = [replace(aged(number, 0), extents=noted, synced=noted) for number in range(MANY)]
    prepare(tmp_path / "storage", tickets)
    async with one_worker(tmp_path / "storage") as worker:
        with turns(monkeypatch) as found:
            services = worker.services
            await recover(services.tickets, services.store, services.upload_service)
    assert found.count > MANY
    assert found.longest < LONGEST, found.whose


async def test_large_bodies_and_messages_block_no_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(64 * MIB)
    async with one_worker(tmp_path / "storage", "--chunk-max", "32MiB") as worker:
        one, other = await worker.ticket(), await worker.ticket()
        body = request("PUT", f"/incoming/frontend/upload/{one}", body=content)
        messages = b"".join(chunk(at, content[at : at + 32 * MIB]) for at in range(0, len(content), 32 * MIB))
        with turns(monkeypatch) as found:
            connection = await RawConnection.open(worker.port)
            await send_bit_by_bit(connection, body)
            assert (await connection.answer()).status == 200
            connection.close()
            socket = await RawWebSocket.welcomed(worker.port, other, len(content))
            await send_bit_by_bit(socket.connection, messages)
            assert (await socket.hear("state"))["state"] == "arrived"
            socket.close()
    assert found.longest < LONGEST, found.whose


async def send_bit_by_bit(connection: RawConnection, data: bytes) -> None:
    """The client has its turns on the same loop, which must not be long either."""
    for start in range(0, len(data), MIB):
        await connection.send(data[start : start + MIB])


async def test_a_long_turn_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def work_hard() -> None:
        until = time.thread_time() + LONGEST
        while time.thread_time() < until:
            pass

    with turns(monkeypatch) as found:
        asyncio.get_running_loop().call_soon(work_hard)
        await asyncio.sleep(0)
    assert found.longest >= LONGEST
    assert "work_hard" in found.whose
