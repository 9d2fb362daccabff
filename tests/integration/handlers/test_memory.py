"""Memory is bounded: of chunks and bodies on their way a part is held, of what waits for the disk `memory`."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from incoming.handlers.upload.websocket.reader import LARGEST_READ
from incoming.uploads.writes.receive_buffer import LARGEST_BUFFER
from tests.conftest import StartServer
from tests.integration.handlers.conftest import StartWorker, holds
from tests.support.faulty_stores import FaultyFiles
from tests.support.incoming_server import IncomingServer
from tests.support.raw_http import RawConnection, request
from tests.support.raw_websocket import RawWebSocket, chunk, hello
from tests.support.stores import until

MIB = 1024 * 1024
CONNECTIONS = 200
SILENT = 64 * 1024
"""Bytes for a WebSocket that was welcomed and its upload: twice what is documented, for what the allocator keeps."""

KEPT = 256 * 1024
"""Bytes that a connection takes besides what it holds of a message: objects, and what the allocator rounds up."""


def resident(server: IncomingServer) -> int:
    """Bytes of memory that the server's only process has."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    [(kilobytes,)] = [match.groups() for match in re.finditer(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)]
    return int(kilobytes) * 1024


async def new_ticket(server: IncomingServer) -> str:
    connection = await RawConnection.open(server.port)
    form = "Content-Type: application/x-www-form-urlencoded"
    body = b"signalFinishURL=http://127.0.0.1:9/"
    answer = await connection.ask(request("POST", "/incoming/backend/new_upload", form, body=body))
    connection.close()
    assert answer.status == 200, answer
    return answer.text


async def grown(server: IncomingServer, before: int) -> int:
    """By how much, once it does not grow any more."""
    last = -1
    while (now := resident(server)) > last + MIB:
        last = now
        await asyncio.sleep(0.5)
    return now - before


@pytest.mark.slow
async def test_silent_connections_use_little_memory(start_server: StartServer) -> None:
    """They and their uploads are kept for hours, so they must cost little: 30 KiB, says doc/operations.md."""
    server = start_server("--workers", "1")
    tickets = [await new_ticket(server) for _ in range(CONNECTIONS)]
    before = resident(server)
    sockets = [await RawWebSocket.welcomed(server.port, ticket_id, 10 * MIB) for ticket_id in tickets]
    assert await grown(server, before) < CONNECTIONS * SILENT
    for socket in sockets:
        socket.close()


@pytest.mark.slow
async def test_half_sent_chunks_use_bounded_memory(start_server: StartServer) -> None:
    """Of each of 200 connections nearly all of a largest chunk has come: it is on the disk, but for the last part."""
    server = start_server("--workers", "1", "--chunk-max", "2MiB", "--minimum-rate", "0")
    tickets = [await new_ticket(server) for _ in range(CONNECTIONS // 10)]
    message = chunk(0, bytes(2 * MIB))[:-100_000]
    before = resident(server)
    sockets = []
    for number in range(CONNECTIONS):
        sockets.append(await RawWebSocket.open(server.port, tickets[number // 10]))
        await sockets[-1].send(hello(10 * MIB))
        assert (await sockets[-1].hear())["type"] == "welcome"
        await sockets[-1].send(message)
    size = await grown(server, before)
    assert size < CONNECTIONS * (LARGEST_BUFFER + 2 * LARGEST_READ + KEPT)
    probe = await RawConnection.open(server.port)
    for ticket in tickets:
        status = await probe.ask(request("GET", f"/incoming/frontend/upload/{ticket}"))
        assert json.loads(status.text)["arrived"] > MIB, "they are really there"
    probe.close()
    for socket in sockets:
        socket.close()


@pytest.mark.slow
@pytest.mark.promise(17)
async def test_half_sent_bodies_use_bounded_memory(start_server: StartServer) -> None:
    """Bodies are stored as they come: in memory is only the last part that was read, and the room for the next."""
    server = start_server("--workers", "1", "--minimum-rate", "0")
    tickets = [await new_ticket(server) for _ in range(CONNECTIONS // 10)]
    before = resident(server)
    connections = []
    for number in range(CONNECTIONS):
        connections.append(await RawConnection.open(server.port))
        path = f"/incoming/frontend/upload/{tickets[number // 10]}"
        await connections[-1].send(request("PUT", path, length=10 * MIB) + bytes(MIB))
    assert await grown(server, before) < CONNECTIONS * (LARGEST_BUFFER + KEPT)
    for connection in connections:
        connection.close()


async def test_bytes_that_wait_for_a_disk_use_bounded_memory(start_worker: StartWorker) -> None:
    """Each connection could have two chunks under way; together they may not have more than `memory`, but for the
    part that each is in.
    """
    worker = await start_worker("--memory", "4MiB", "--chunk-max", "1MiB")
    files = worker.services.store
    assert isinstance(files, FaultyFiles)
    files.faults.hold("write")
    tickets = [await worker.ticket() for _ in range(20)]
    sockets = [await RawWebSocket.welcomed(worker.port, ticket_id, 10 * MIB) for ticket_id in tickets]
    connections = [await RawConnection.open(worker.port) for _ in tickets]
    largest = 0

    async def watch() -> None:
        nonlocal largest
        while True:
            largest = max(largest, worker.services.memory_budget.used)
            await asyncio.sleep(0.001)

    async def send(number: int) -> None:
        path = f"/incoming/frontend/upload/{tickets[number]}"
        await sockets[number].send(*(chunk(start * MIB, bytes(MIB)) for start in range(4)))
        await connections[number].send(
            request("PUT", path, "Content-Range: bytes 4194304-8388607/10485760", body=bytes(4 * MIB))
        )

    watching = asyncio.create_task(watch())
    sending = [asyncio.create_task(send(number)) for number in range(len(tickets))]
    await until(lambda: worker.services.memory_budget.used > 4 * MIB, "the memory being full")
    await files.faults.until_held("write", 8)
    full = worker.services.memory_budget.used
    await asyncio.sleep(0.5)
    assert worker.services.memory_budget.used <= full + 40 * (MIB + 4096), "one piece of each at most"
    files.faults.release("write")
    for number, socket in enumerate(sockets):
        await socket.until_acked(*((start * MIB, (start + 1) * MIB) for start in range(4)))
        assert (await connections[number].answer()).status == 308
        socket.close()
        connections[number].close()
    await asyncio.gather(*sending)
    watching.cancel()
    assert largest <= 4 * MIB + 40 * (MIB + 4096)
    await until(lambda: holds(worker) == [], "all being let go of")
    assert worker.services.memory_budget.used == 0
