"""The queue of one WebSocket: order, what goes together, the last words, and a peer that does not read."""

import asyncio
import json

import pytest
from tornado.websocket import WebSocketClosedError

from incoming.core.errors import StorageFailed, StorageFull, UploadError
from incoming.handlers.upload.websocket import sender
from incoming.handlers.upload.websocket.sender import MAX_QUEUED, WebSocketSender
from incoming.wire import messages
from tests.support.waiting import until_idle


class Peer:
    """What one peer gets; it reads while `reads` is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.got: list[object] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.gone = False
        self.sender = WebSocketSender(lambda: self.now)
        self.failures: list[UploadError] = []
        self.running = asyncio.create_task(self.sender.run(self.write, self.close, self.fail))

    async def write(self, text: str) -> None:
        await self.reads.wait()
        if self.gone:
            raise WebSocketClosedError
        message = json.loads(text)
        self.got.append(message.get("chunks") or message["type"])

    def close(self, code: int, reason: str) -> None:
        self.got.append((code, reason))

    def fail(self, error: UploadError) -> None:
        self.failures.append(error)
        self.sender.send(messages.error(error))
        self.sender.end(4502, error.name)


async def test_waiting_acks_are_sent_together_and_before_messages() -> None:
    peer = Peer()
    peer.reads.clear()
    peer.sender.ack((0, 1))
    await until_idle()
    for start in (1, 2, 3):
        peer.sender.ack((start, start + 1))
    peer.sender.send(messages.ping())
    peer.now = 7.0
    peer.reads.set()
    await until_idle()
    assert peer.got == [[[0, 1]], [[1, 2], [2, 3], [3, 4]], "ping"]
    assert peer.sender.said_at == 7.0
    peer.sender.end(1000, "")
    await peer.running


async def test_no_ack_overtakes_the_welcome() -> None:
    peer = Peer()
    peer.sender.welcome(messages.pong())
    peer.sender.ack((0, 1))
    peer.sender.send(messages.ping())
    await until_idle()
    assert peer.got == ["pong", [[0, 1]], "ping"]
    peer.sender.end(1000, "")
    await peer.running


async def test_nothing_is_sent_after_the_last_message() -> None:
    peer = Peer()
    peer.sender.send(messages.ping())
    peer.sender.end(1000, "over")
    peer.sender.send(messages.pong())
    peer.sender.end(1001, "again")
    await peer.running
    assert peer.got == ["ping", (1000, "over")]


async def test_ending_before_the_start_sends_what_waits() -> None:
    peer = Peer()
    peer.running.cancel()
    sender = WebSocketSender(lambda: 0.0)
    sender.send(messages.ping())
    sender.end(4100, "")
    await sender.run(peer.write, peer.close, peer.fail)
    assert peer.got == ["ping", (4100, "")]


async def test_a_failure_is_reported_once_behind_what_was_safe() -> None:
    peer = Peer()
    peer.sender.ack((0, 1))
    peer.sender.fail(StorageFailed("broken"))
    peer.sender.fail(StorageFull("full"))
    assert peer.sender.failure is not None, "known at once, so that nothing more is taken"
    await peer.running
    assert [error.code for error in peer.failures] == [StorageFailed.code]
    assert peer.got == [[[0, 1]], "error", (4502, "storage_failed")]


@pytest.mark.parametrize("when", ["ended before", "ended while it waits"])
async def test_waiting_for_the_last_message_is_bounded(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    monkeypatch.setattr(sender, "CLOSE_TIMEOUT", 0.0)
    peer = Peer()
    peer.reads.clear()
    peer.sender.send(messages.ping())
    if when == "ended while it waits":
        await until_idle()
    peer.sender.end(1000, "")
    await peer.running
    assert peer.got == [(1000, "")]


async def test_a_disconnected_peer_is_no_error() -> None:
    peer = Peer()
    peer.gone = True
    peer.sender.send(messages.ping())
    await peer.running
    assert (peer.got, peer.sender.ended) == ([], True)
    peer.sender.ack((0, 1))
    peer.sender.end(1000, "")
    await peer.sender.room()
    assert peer.got == []


async def test_a_peer_that_does_not_read_is_not_read() -> None:
    peer = Peer()
    peer.reads.clear()
    for number in range(MAX_QUEUED + 2):
        peer.sender.send(messages.ping())
        if not number:
            await until_idle()
    waiting = asyncio.create_task(peer.sender.room())
    await until_idle()
    assert not waiting.done()
    peer.reads.set()
    await waiting
    peer.sender.abandon()
    await peer.running
