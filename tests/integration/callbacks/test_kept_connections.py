"""Callbacks one after the other over one connection, and apps that close it, in every way."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from incoming.callbacks import kept_connections
from incoming.callbacks.answer import Answer, Verdict
from incoming.callbacks.client import CallbackClient
from incoming.callbacks.name_lookup import NameLookup
from incoming.settings import value_types
from incoming.settings.settings import Settings
from tests.integration.callbacks.test_client import ARRIVED, CHUNKED, ticket_for

DONE = Answer(Verdict.DONE)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"
RESET = struct.pack("ii", 1, 0)

Says = Callable[[int, asyncio.StreamWriter], Awaitable[bool]]


@dataclass
class App:
    """An app with connections that stay open; `says` answers the request of that number, and returns whether the
    connection remains.
    """

    says: Says
    port: int = 0
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    """The connection's number and the header of each."""
    ended: list[int] = field(default_factory=list)
    """Connections that the client has closed."""
    one_ended: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        if task := asyncio.current_task():
            self.tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                [length] = [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(length)
                self.requests.append((number, head))
                if not await self.says(len(self.requests), writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.append(number)
            self.one_ended.set()
        finally:
            writer.close()


@asynccontextmanager
async def app(says: Says) -> AsyncIterator[App]:
    made = App(says)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


@asynccontextmanager
async def client(lookup: NameLookup | None = None, **settings: object) -> AsyncIterator[CallbackClient]:
    made = CallbackClient(Settings(**settings), lookup=lookup)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


async def ok(number: int, writer: asyncio.StreamWriter) -> bool:
    writer.write(ANSWER)
    return True


def saying(answer: bytes, *, stays: bool = True) -> Says:
    async def says(number: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer)
        return stays

    return says


async def test_callbacks_one_after_the_other_share_a_connection() -> None:
    async with app(ok) as it, client() as caller:
        assert [await caller.post(ticket_for(it.url), ARRIVED) for _ in range(20)] == [DONE] * 20
        assert [number for number, _ in it.requests] == [1] * 20
        assert all(b"connection: keep-alive" in head for _, head in it.requests)


async def test_callbacks_at_once_have_one_each_and_leave_as_many_as_are_called_at_once() -> None:
    async with app(ok) as it, client(handover_connections=2) as caller:
        for _ in range(2):
            await asyncio.gather(*(caller.post(ticket_for(it.url), ARRIVED) for _ in range(4)))
        assert it.connections == 6


async def test_a_chunked_answer_is_read_whole_before_the_next_request() -> None:
    async with app(saying(CHUNKED + b"2\r\ndo\r\n2\r\nne\r\n0\r\n\r\n")) as it, client() as caller:
        assert [await caller.post(ticket_for(it.url), ARRIVED) for _ in range(3)] == [DONE] * 3
        assert it.connections == 1


@pytest.mark.parametrize(
    ("answer", "stays"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndone", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Upgrade, Close\r\nContent-Length: 4\r\n\r\ndone", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\ndone", True),
        (b"HTTP/1.0 200 OK\r\n\r\ndone", False),
        (b"HTTP/1.1 200 OK\r\n\r\ndone", False),
        (ANSWER + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nrefuse", True),
    ],
)
async def test_a_connection_is_not_used_again(answer: bytes, stays: bool) -> None:
    async with app(saying(answer, stays=stays)) as it, client() as caller:
        assert [await caller.post(ticket_for(it.url), ARRIVED) for _ in range(3)] == [DONE] * 3
        assert it.connections == 3


async def test_what_an_app_sends_unasked_answers_no_callback() -> None:
    async def twice(number: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(ANSWER)
        await writer.drain()
        if number == 1:
            asyncio.get_running_loop().call_later(0.05, writer.write, ANSWER.replace(b"done", b"no!!"))
        return True

    async with app(twice) as it, client() as caller:
        assert await caller.post(ticket_for(it.url), ARRIVED) == DONE
        await asyncio.sleep(0.1)
        assert await caller.post(ticket_for(it.url), ARRIVED) == DONE
        assert it.connections == 2


async def test_an_app_that_closes_after_some_requests_gets_each_once() -> None:
    async def three(number: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(ANSWER)
        return number % 3 != 0

    async with app(three) as it, client() as caller:
        for _ in range(9):
            assert (await caller.post(ticket_for(it.url), ARRIVED)).verdict == Verdict.DONE
            await asyncio.sleep(0.01)  # an app that closes behind its answer does so before the next callback
        assert [number for number, _ in it.requests] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def losing(lost: int, *, reset: bool) -> Says:
    """Close the connection when the request of this number is read, without an answer."""

    async def says(number: int, writer: asyncio.StreamWriter) -> bool:
        if number == lost:
            if reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()
            return False
        writer.write(ANSWER)
        return True

    return says


@pytest.mark.parametrize("reset", [False, True])
async def test_a_request_on_a_kept_connection_that_is_closed_is_made_once_more_on_a_new_one(reset: bool) -> None:
    async with app(losing(2, reset=reset)) as it, client() as caller:
        assert await caller.post(ticket_for(it.url), ARRIVED) == DONE
        assert await caller.post(ticket_for(it.url), ARRIVED) == Answer(Verdict.DONE, repeated=True)
    assert [number for number, _ in it.requests] == [1, 1, 2]
    same = [line for _, head in it.requests[1:] for line in head.split(b"\r\n") if line.startswith(b"incoming-")]
    assert same == [b"incoming-delivery: delivery-1", b"incoming-attempt: 1"] * 2


async def test_a_request_on_a_new_connection_that_is_closed_is_not_repeated() -> None:
    async with app(losing(1, reset=False)) as it, client() as caller:
        answer = await caller.post(ticket_for(it.url), ARRIVED)
        assert (answer.verdict, answer.answered, answer.repeated) == (Verdict.AGAIN, False, False)
        assert len(it.requests) == 1


async def test_it_is_made_once_more_and_not_again() -> None:
    async def never_again(number: int, writer: asyncio.StreamWriter) -> bool:
        if number == 1:
            writer.write(ANSWER)
        return number == 1

    async with app(never_again) as it, client() as caller:
        assert await caller.post(ticket_for(it.url), ARRIVED) == DONE
        answer = await caller.post(ticket_for(it.url), ARRIVED)
        assert (answer.verdict, answer.answered, answer.repeated) == (Verdict.AGAIN, False, True)
        assert len(it.requests) == 3


@pytest.mark.parametrize(
    "begun", [b"H", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndo"]
)
async def test_an_answer_that_has_begun_is_not_asked_for_again(begun: bytes) -> None:
    async def breaks_off(number: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(ANSWER if number == 1 else begun)
        return number == 1

    async with app(breaks_off) as it, client() as caller:
        assert await caller.post(ticket_for(it.url), ARRIVED) == DONE
        answer = await caller.post(ticket_for(it.url), ARRIVED)
        assert (answer.verdict, answer.answered, answer.repeated) == (Verdict.AGAIN, False, False)
        assert len(it.requests) == 2


async def test_an_idle_connection_is_closed_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_connections, "IDLE", 0.02)
    async with app(ok) as it, client() as caller:
        await caller.post(ticket_for(it.url), ARRIVED)
        async with asyncio.timeout(10):
            await it.one_ended.wait()
        assert await caller.post(ticket_for(it.url), ARRIVED) == DONE
        assert it.connections == 2


async def test_an_old_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_connections, "LIFETIME", 0.0)
    async with app(ok) as it, client() as caller:
        for _ in range(3):
            await caller.post(ticket_for(it.url), ARRIVED)
        assert it.connections == 3
        assert it.ended == [1, 2]


async def test_the_end_of_the_worker_closes_what_is_kept() -> None:
    async with app(ok) as it:
        async with client() as caller:
            await caller.post(ticket_for(it.url), ARRIVED)
        async with asyncio.timeout(10):
            await it.one_ended.wait()


async def test_a_kept_connection_leads_to_the_same_host_and_port_only() -> None:
    async with app(ok) as one, app(ok) as other, client() as caller:
        for _ in range(2):
            await caller.post(ticket_for(one.url), ARRIVED)
            await caller.post(ticket_for(other.url), ARRIVED)
            await caller.post(ticket_for(one.url.replace("127.0.0.1", "localhost")), ARRIVED)
        assert (one.connections, other.connections) == (2, 1)


async def test_a_kept_connection_must_lead_where_the_lists_allow() -> None:
    loopback = value_types.networks().parse("127.0.0.0/8")
    async with app(ok) as it, client(callback_networks=loopback) as caller:
        assert await caller.post(ticket_for(it.url), ARRIVED) == DONE
        caller._guard._networks = tuple(value_types.networks().parse("10.0.0.0/8"))
        assert (await caller.post(ticket_for(it.url), ARRIVED)).verdict == Verdict.UNCLEAR
        assert len(it.requests) == 1
