"""Any sequence of chunks over WebSockets, PUT, tus and the IETF's resumable uploads makes the same file, across cut
connections and restarts.

tests/unit/uploads/test_any_sequence.py has no transport and worse stores; here are real connections to a real worker.
"""

import asyncio
import contextlib
import itertools
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlencode

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from incoming.core.extents import Extents, Range
from incoming.maintenance.recovery import recover
from tests.support import tus_requests
from tests.support.one_worker import FORM, OneWorker, one_worker
from tests.support.raw_http import Answer, RawConnection, request
from tests.support.raw_websocket import RawWebSocket, chunk, hello
from tests.support.stores import until

T = TypeVar("T")

SIZE = 400
CONTENT = bytes(offset * 37 % 251 + 1 for offset in range(SIZE))
SESSIONS = ("session-1", "session-2")
WEBSOCKET, HTTP, PUT = WAYS = ("websocket", "http", "put")
TUS, DRAFT = APPENDS = ("tus", "draft")

positions = st.integers(0, SIZE)
ranges = st.tuples(positions, positions).map(sorted).filter(lambda pair: pair[0] < pair[1]).map(tuple)
sessions = st.sampled_from(SESSIONS)


class AnyTransport(RuleBasedStateMachine):
    """One upload, two uploaders that take it from each other, and other people's client that just sends pieces."""

    hit: ClassVar[Counter[str]] = Counter()
    """What has really happened, over all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="incoming-"))
        self.stack = AsyncExitStack()
        self.sockets: dict[str, RawWebSocket] = {}
        self.epochs: dict[str, int] = {}
        self.acked = Extents()
        """What must be there from now on."""
        self.kept = Extents()
        """What was acked before the last restart."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        async def begin() -> str:
            await self._start()
            form = urlencode({"signalFinishURL": "http://127.0.0.1:9/"}).encode()
            headers = f"Content-Type: {FORM}"
            return (await self._ask(request("POST", "/incoming/0.1/backend/new_upload", headers, body=form))).text

        self.ticket_id = self.run(begin())

    async def _start(self) -> None:
        self.worker: OneWorker = await self.stack.enter_async_context(one_worker(self.directory))
        services = self.worker.services
        await recover(services.tickets, services.store, services.upload_service)

    async def _stop(self) -> None:
        for session in tuple(self.sockets):
            self._drop(session)
        await self.stack.aclose()

    def _drop(self, session: str, *, reset: bool = False) -> None:
        connection = self.sockets.pop(session).connection
        if reset:
            connection.reset()
        else:
            connection.close()

    # --- who comes ----------------------------------------------------------------------------------------------------

    @rule(session=sessions, way=st.sampled_from([WEBSOCKET, HTTP]), again=st.booleans())
    def come(self, session: str, way: str, again: bool) -> None:
        """An uploader starts, or comes back by itself with the epoch that it had; perhaps over the other transport."""
        self.run(self._come(session, way, {"epoch": self.epochs[session]} if again and session in self.epochs else {}))

    async def _come(self, session: str, way: str, known: dict[str, int]) -> None:
        welcome = await (self._welcome if way == WEBSOCKET else self._post_hello)(session, known)
        if welcome["type"] == "error":
            assert known, welcome
            assert welcome["code"] == 204, "nothing but a takeover keeps an uploader away"
            self.hit["taken over"] += 1
        else:
            self.epochs[session] = welcome["epoch"]
            self._see(welcome)

    async def _welcome(self, session: str, known: dict[str, int]) -> dict[str, Any]:
        if session in self.sockets:
            self._drop(session)
        socket = await RawWebSocket.open(self.worker.port, self.ticket_id)
        await socket.send(hello(SIZE, session, **known))
        message = await socket.hear("welcome", "error")
        if message["type"] == "error":
            socket.close()
        else:
            self.sockets[session] = socket
        return message

    async def _post_hello(self, session: str, known: dict[str, int]) -> dict[str, Any]:
        said = {"type": "hello", "session": session, "name": "a.bin", "size": SIZE, **known}
        headers = "Accept: application/json"
        answer = await self._ask(request("POST", self._path(), headers, body=json.dumps(said).encode()))
        return {"type": "welcome" if answer.status == 200 else "error", **answer.json}

    # --- what they send -----------------------------------------------------------------------------------------------

    @rule(sent=st.lists(st.tuples(st.sampled_from(WAYS), sessions, ranges), min_size=1, max_size=6))
    def send(self, sent: list[tuple[str, str, Range]]) -> None:
        """All at once, each by its way. What is acked is there from then on; all else is refused by a known error."""

        async def send() -> None:
            by_socket: dict[str, list[Range]] = {}
            requests = []
            for way, session, piece in sent:
                if way == WEBSOCKET and session not in self.sockets:
                    await self._come(session, way, {})
                if way == HTTP and session not in self.epochs:
                    await self._come(session, way, {})
                if way == WEBSOCKET:
                    by_socket.setdefault(session, []).append(piece)
                else:
                    requests.append(self._put(way, piece, f"?epoch={self.epochs[session]}" if way == HTTP else ""))
            frames = [self._send_chunks(session, pieces) for session, pieces in by_socket.items()]
            await asyncio.gather(*requests, *frames)

        self.run(send())

    async def _send_chunks(self, session: str, pieces: list[Range]) -> None:
        socket = self.sockets[session]
        await socket.send(*(chunk(start, CONTENT[start:end]) for start, end in pieces))
        awaited = set(pieces)
        while awaited:
            try:
                message = await socket.hear("ack", "error")
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise AssertionError("a connection ended without a word") from error
            if message["type"] == "error":
                assert message["code"] == 204, message
                self.hit["taken over"] += 1
                self._drop(session)
                return
            for start, end in message["chunks"]:
                self._acked(WEBSOCKET, (start, end))
                awaited.discard((start, end))

    async def _put(self, way: str, piece: Range, query: str = "") -> None:
        answer = await self._ask(self._request(piece, query))
        if answer.status in (200, 308):
            self._acked(way, piece)
        else:
            assert (answer.status, answer.json["code"]) == (409, 204), answer
            assert query, "a client without a session is never taken over"
            self.hit["taken over"] += 1

    def _request(self, piece: Range, query: str = "") -> bytes:
        start, end = piece
        told = (f"Content-Range: bytes {start}-{end - 1}/{SIZE}", "Accept: application/json")
        return request("PUT", self._path(query), *told, body=CONTENT[start:end])

    def _acked(self, way: str, piece: Range) -> None:
        self.acked = self.acked.add(*piece)
        self.hit[way] += 1

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.sockets)
    @rule(data=st.data(), piece=ranges, share=st.floats(0, 1), reset=st.booleans())
    def cut_in_a_chunk(self, data: st.DataObject, piece: Range, share: float, reset: bool) -> None:
        """A WebSocket ends by FIN or by RST after a part of a chunk; whether it was all is not known."""
        session = data.draw(st.sampled_from(sorted(self.sockets)))
        whole = chunk(piece[0], CONTENT[slice(*piece)])

        async def cut() -> None:
            await self.sockets[session].send(whole[: round(share * len(whole))])
            self._drop(session, reset=reset)

        self.run(cut())
        self.hit["WebSocket cut"] += 1

    @rule(piece=ranges, share=st.floats(0, 1), reset=st.booleans())
    def cut_in_a_piece(self, piece: Range, share: float, reset: bool) -> None:
        """A PUT ends within its head or its body, or before its answer."""
        whole = self._request(piece)

        async def cut() -> None:
            connection = await RawConnection.open(self.worker.port)
            await connection.send(whole[: round(share * len(whole))])
            if reset:
                connection.reset()
            else:
                connection.close()

        self.run(cut())
        self.hit["PUT cut"] += 1

    @precondition(lambda self: self.acked != self.kept)
    @rule()
    def restart(self) -> None:
        """Only after something more was acked."""
        self.kept = self.acked

        async def restart() -> None:
            await self._stop()
            await self._start()

        self.run(restart())
        self.hit["restart"] += 1

    # --- what must always hold ----------------------------------------------------------------------------------------

    @invariant()
    def what_is_told_is_there(self) -> None:
        async def look() -> None:
            answer = await self._ask(request("GET", self._path(), "Accept: application/json"))
            assert answer.status == 200, answer
            self._see(answer.json)

        self.run(look())

    def _see(self, told: dict[str, Any]) -> None:
        """Nothing that was acked is missing, and what the server says it has is what was sent."""
        extents = Extents((start, end) for start, end in told["extents"])
        for start, end in self.acked:
            assert extents.covers(start, end), f"acked {self.acked}, told {extents}"
        found = [path.read_bytes() for path in self.directory.glob(f"??/{self.ticket_id}*")]
        for start, end in extents:
            assert [content[start:end] for content in found] == [CONTENT[start:end]], f"[{start}, {end}) is not there"
        assert (told["state"] == "arrived") <= (found == [CONTENT])

    def teardown(self) -> None:
        if hasattr(self, "ticket_id"):
            self.run(self._arrive())
        self.run(self._stop())
        shutil.rmtree(self.directory)
        self.loop.close()

    async def _arrive(self) -> None:
        """Whatever was before, whoever sends the rest completes the file."""
        await self._put(PUT, (0, SIZE))

        async def arrived() -> bool:
            answer = await self._ask(request("GET", self._path(), "Accept: application/json"))
            return bool(answer.json["state"] == "arrived")

        await until(arrived, "the file")
        [path] = self.directory.glob(f"??/{self.ticket_id}")
        assert path.read_bytes() == CONTENT

    # --- to the server ------------------------------------------------------------------------------------------------

    def _path(self, query: str = "") -> str:
        return f"/incoming/0.1/frontend/upload/{self.ticket_id}{query}"

    async def _ask(self, data: bytes) -> Answer:
        connection = await RawConnection.open(self.worker.port)
        try:
            return await connection.ask(data)
        finally:
            connection.close()
            with contextlib.suppress(ConnectionError):
                await connection.writer.wait_closed()


class AnyDialect(AnyTransport):
    """Besides, clients of tus and of the IETF's resumable uploads, which take the upload from everybody."""

    hit: ClassVar[Counter[str]] = Counter()

    @rule(sent=st.lists(st.tuples(st.integers(0, SIZE // 4), st.booleans()), min_size=2, max_size=6))
    def append(self, sent: list[tuple[int, bool]]) -> None:
        """Clients that know one offset ask for it and send on from there, in turn. Nobody keeps them from doing so."""

        async def append() -> None:
            for way, (length, check) in zip(itertools.cycle(APPENDS), sent, strict=False):
                start = await self._offset(way)
                body = CONTENT[start : start + length]
                answer = await self._ask(self._append_request(way, start, body, check=check))
                assert answer.status in (200, 204), answer
                assert int(answer.headers["upload-offset"]) >= start + len(body)
                self._acked(way, (start, start + len(body)))

        self.run(append())

    @rule(way=st.sampled_from(APPENDS), share=st.floats(0, 1), check=st.booleans(), reset=st.booleans())
    def cut_in_an_append(self, way: str, share: float, check: bool, reset: bool) -> None:
        """An append of all that is missing ends within its head or its body, or before its answer."""

        async def cut() -> None:
            start = await self._offset(way)
            whole = self._append_request(way, start, CONTENT[start:], check=check)
            connection = await RawConnection.open(self.worker.port)
            await connection.send(whole[: round(share * len(whole))])
            if reset:
                connection.reset()
            else:
                connection.close()

        self.run(cut())
        self.hit[f"{way} cut"] += 1

    @rule(length=st.integers(1, SIZE))
    def damage(self, length: int) -> None:
        """A body arrives with other bytes than were sent, and with the checksum of those."""

        async def damage() -> None:
            start = await self._offset(TUS)
            if body := CONTENT[start : start + length]:
                sent = tus_requests.patch(self.ticket_id, start, bytes(len(body)), tus_requests.checksum(body))
                assert (await self._ask(sent)).status == 460
                self.hit["damaged"] += 1

        self.run(damage())

    async def _offset(self, way: str) -> int:
        version = tus_requests.VERSION if way == TUS else "Upload-Draft-Interop-Version: 8"
        connection = await RawConnection.open(self.worker.port)
        try:
            await connection.send(request("HEAD", self._append_path(way), version))
            answer = await connection.head()
            assert answer.status in (200, 204), answer
            return int(answer.headers["upload-offset"])
        finally:
            connection.close()

    def _append_path(self, way: str) -> str:
        return tus_requests.path(self.ticket_id) if way == TUS else self._path()

    def _append_request(self, way: str, start: int, body: bytes, *, check: bool) -> bytes:
        if way == TUS:
            checksum = (tus_requests.checksum(body),) if check else ()
            size = f"Upload-Length: {SIZE}"
            return tus_requests.patch(self.ticket_id, start, body, size, *checksum)
        more = (
            "Upload-Draft-Interop-Version: 8",
            "Content-Type: application/partial-upload",
            f"Upload-Offset: {start}",
        )
        is_last = f"Upload-Complete: ?{int(start + len(body) == SIZE)}"
        return request("PATCH", self._path(), *more, is_last, body=body)


@pytest.mark.promise(1, 3, 111)
def test_any_sequence_over_both_transports_keeps_the_promises() -> None:
    AnyTransport.hit.clear()
    run_state_machine_as_test(AnyTransport, settings=settings(max_examples=20, stateful_step_count=15))
    for what in (*WAYS, "WebSocket cut", "PUT cut", "restart", "taken over"):
        assert AnyTransport.hit[what] >= 3, f"{what}: {AnyTransport.hit}"


@pytest.mark.promise(1, 3)
def test_any_sequence_over_all_dialects_keeps_the_promises() -> None:
    AnyDialect.hit.clear()
    run_state_machine_as_test(AnyDialect, settings=settings(max_examples=20, stateful_step_count=15))
    for what in (*APPENDS, "tus cut", "draft cut", "damaged"):
        assert AnyDialect.hit[what] >= 3, f"{what}: {AnyDialect.hit}"
    assert sum(AnyDialect.hit[what] for what in WAYS) >= 3, AnyDialect.hit
