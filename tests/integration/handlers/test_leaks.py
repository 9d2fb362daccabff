"""Uploads that are broken off leave nothing behind: no descriptor, task, thread, handler or file."""

import asyncio
import gc
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tornado.iostream import IOStream

from incoming.handlers.upload.body_receiver import BodyReceiver
from incoming.handlers.upload.resumable_put import ResumablePut
from incoming.handlers.upload.websocket.chunk_receiver import ChunkReceiver
from incoming.handlers.upload.websocket.sender import WebSocketSender
from incoming.handlers.upload.websocket.upload_socket import UploadSocket
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.writes.checkpointer import Checkpointer
from incoming.uploads.writes.flow_control import UploadWriter
from tests.integration.handlers.conftest import holds
from tests.support.one_worker import OneWorker
from tests.support.raw_http import RawConnection, request
from tests.support.raw_websocket import BINARY, PING, RawWebSocket, chunk, frame, handshake, hello, text
from tests.support.stores import until

ABORTED = 2000
AT_ONCE = 20
TICKETS = 10
PIECE = bytes(3000)
POOLS = ("incoming-files", "incoming-writes")

Abort = Callable[[OneWorker, str, int], Awaitable[None]]


def end(connection: RawConnection, number: int) -> None:
    """By FIN or by RST."""
    if number % 2:
        connection.close()
    else:
        connection.reset()


async def abort_websocket(worker: OneWorker, ticket_id: str, number: int) -> None:
    """Each at another point of its life."""
    connection = await RawConnection.open(worker.port)
    asked = handshake(ticket_id if number % 5 else "unknown")
    if number % 10 == 3:
        await connection.send(asked[: number % len(asked)])
        end(connection, number)
        return
    socket = RawWebSocket(connection, await connection.ask(asked))
    session = f"session-{number % 3}"
    sent = (
        hello(10**6, session),
        hello(10**6, session) + chunk(number % 1000, PIECE),
        hello(10**6, session) + chunk(number % 1000, PIECE)[: number % 3000],
        hello(10**6, session) + frame(BINARY, PIECE, final=False),
        hello(10**6, session) + frame(PING) + text({"type": "pause"}),
        hello(10**6, session) + text(b"nonsense"),
        hello(10**6, session)[: number % 100],
        b"",
        hello(10**6, session) + chunk(10**6, b"outside"),
    )
    kind = number % len(sent)
    await socket.send(sent[kind])
    if number % 4 == 1 and kind not in (6, 7):
        await socket.frame()
    end(connection, number // 2)


async def abort_put(worker: OneWorker, ticket_id: str, number: int) -> None:
    """Each at another point of its life."""
    connection = await RawConnection.open(worker.port)
    path = f"/incoming/frontend/upload/{ticket_id if number % 5 else 'unknown'}"
    piece = request("PUT", path, f"Content-Range: bytes {number}-{number + 2999}/1000000", body=PIECE)
    sent = (
        piece,
        piece[: len(piece) - number % 3000 - 1],
        piece[: number % (len(piece) - 3000)],
        request("PUT", path, "Content-Range: bytes 0-*/1000000", "Transfer-Encoding: chunked", length=-1) + b"ff\r\nx",
        request("PUT", path, "Content-Range: nonsense", length=3000) + b"x",
        request("PUT", path, "Content-Range: bytes 999000-1001999/*", length=3000) + b"x",
        request("POST", path, length=100) + b"{",
        with_hello(path)[: -1 - number % 3000],
        request("GET", f"{path}?wait=1"),
        request("POST", path, body=b"nonsense"),
    )
    await connection.send(sent[number % len(sent)])
    end(connection, number)


@pytest.mark.slow
@pytest.mark.parametrize("abort", [abort_websocket, abort_put])
async def test_aborted_uploads_leave_nothing_behind(worker: OneWorker, abort: Abort) -> None:
    tickets = [await worker.ticket() for _ in range(TICKETS)]
    for number in range(AT_ONCE):  # so that what is made once has been made
        await abort(worker, tickets[number % TICKETS], number)
    await until(lambda: holds(worker) == [], "nothing being held")
    before = await counted()
    for start in range(0, ABORTED, AT_ONCE):
        await asyncio.gather(
            *(abort(worker, tickets[number % TICKETS], number) for number in range(start, start + AT_ONCE))
        )
    await until(lambda: holds(worker) == [], "nothing being held")
    await until(lambda: not worker.services.upload_service._listeners._tasks, "nothing being read")
    assert await counted() == before
    for ticket_id in tickets:
        await worker.call("cancel_upload", id=ticket_id)
    assert uploaded_files(worker) == []


async def test_ended_uploads_are_freed_without_the_garbage_collector(worker: OneWorker) -> None:
    """A cycle would stay until the collector looks at everything, and for that everybody has to wait."""
    tickets = [await worker.ticket() for _ in range(45)]
    gc.collect()
    before = server_objects()
    gc.disable()
    try:
        for number, ticket_id in enumerate(tickets):
            await end_well(worker, ticket_id, number)
        await until(lambda: holds(worker) == [], "nothing being held")
        await until(lambda: server_objects() == before, "nothing being left", 5)
    finally:
        gc.enable()


async def end_well(worker: OneWorker, ticket_id: str, number: int) -> None:
    """A whole file by PUT, with its hello or over a WebSocket, or half of one."""
    if number % 3 == 0:
        connection = await RawConnection.open(worker.port)
        path = f"/incoming/frontend/upload/{ticket_id}"
        asked = request("PUT", path, body=PIECE) if number % 2 else with_hello(path)
        assert (await connection.ask(asked)).status == 200
        connection.close()
        return
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, number % 3 * len(PIECE))
    await socket.send(chunk(0, PIECE))
    if number % 3 == 1:
        assert (await socket.hear("state"))["state"] == "arrived"
    else:
        await socket.until_acked((0, len(PIECE)))
    socket.close()


def with_hello(path: str, body: bytes = PIECE) -> bytes:
    told = {"type": "hello", "session": "session-1", "name": "a.bin", "size": len(PIECE)}
    return request("POST", f"{path}/whole?{urlencode({'hello': json.dumps(told)})}", body=body)


def server_objects() -> dict[str, int]:
    """How many objects there are of each class that a connection or an upload is made of."""
    kinds = (
        UploadSocket,
        ResumablePut,
        ActiveUpload,
        Checkpointer,
        UploadWriter,
        ChunkReceiver,
        WebSocketSender,
        BodyReceiver,
        IOStream,
    )
    found = [type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, kinds)]
    return {name: found.count(name) for name in found}


async def counted() -> dict[str, int]:
    """What there is of each thing that must not grow."""

    def now() -> dict[str, int]:
        gc.collect()
        handlers = [thing for thing in gc.get_objects() if isinstance(thing, UploadSocket | ResumablePut)]
        return {
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "tasks": len(asyncio.all_tasks()),
            # The pools for files start their threads one by one, as they are needed.
            "threads": sum(not thread.name.startswith(POOLS) for thread in threading.enumerate()),
            "handlers": len(handlers),
        }

    # The loop closes transports one turn after it was told to; two equal counts in a row are the count.
    last = now()
    while True:
        await asyncio.sleep(0.2)
        if (again := now()) == last:
            return last
        last = again


def uploaded_files(worker: OneWorker) -> list[Path]:
    root = worker.services.settings.storage_dir
    return [path for path in root.rglob("*") if path.is_file() and not path.name.startswith("incoming.sqlite")]
