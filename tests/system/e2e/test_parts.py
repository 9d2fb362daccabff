"""A store of parts of 1 MiB: the browser sends each part whole on one connection, whatever happens to connections."""

from collections import defaultdict
from collections.abc import Container, Iterator

import pytest
from playwright.sync_api import Page, WebSocket

from incoming.core.extents import Extents
from tests.support.fault_proxy import FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile
from tests.support.tools import ROOT
from tests.system.e2e.conftest import MIB, remove_large_files
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import UploadPage

PART = MIB
LONG_SETUP = 300.0
"""Milliseconds to open a connection on a long line."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IncomingServer]:
    """One whose store has parts."""
    directory = tmp_path_factory.mktemp("server")
    parts = {"PART_SIZE": str(PART), "PYTHONPATH": str(ROOT)}
    program = ("-m", "tests.support.part_store")
    with IncomingServer(directory / "storage", "--chunk-min", "256KiB", env=parts, program=program) as server:
        yield server
    remove_large_files(directory)
    server.assert_quiet()


RECORD = """
    window.sent_chunks = [];
    const numbers = new Map(), send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (message) {
        send.call(this, message);
        if (typeof message === "string") return;
        if (!numbers.has(this)) numbers.set(this, numbers.size);
        const chunk = [numbers.get(this), 0, message.size ?? message.byteLength];
        sent_chunks.push(chunk);
        new Response(message.slice(0, 16)).arrayBuffer().then((head) => {
            chunk[1] = Number(new DataView(head).getBigUint64(8));
            chunk[2] += chunk[1] - 16;
        });
    };
"""
"""Notes of each chunk its connection, where it begins and where it ends."""


class Wire:
    """The chunks that a page sends, by connection."""

    def __init__(self, page: Page) -> None:
        self._page = page
        page.add_init_script(RECORD)

    @property
    def chunks(self) -> dict[int, list[tuple[int, int]]]:
        found = defaultdict(list)
        for connection, start, end in self._page.evaluate("sent_chunks"):
            found[connection].append((start, end))
        return found

    @property
    def senders(self) -> dict[int, list[int]]:
        """For each part the connections that have sent bytes of it, in order."""
        found = defaultdict(list)
        for connection, chunks in self.chunks.items():
            for start, end in chunks:
                assert start // PART == (end - 1) // PART, f"[{start}, {end}) crosses a border"
                if connection not in found[start // PART]:
                    found[start // PART].append(connection)
        return found

    def shared(self, but: Container[int] = ()) -> dict[int, set[int]]:
        """The parts of which several connections have sent new bytes; late bytes are repeated, which does not count.

        What the connections in `but` have sent is left out.
        """
        found: dict[int, set[int]] = defaultdict(set)
        sent = Extents()
        for connection, start, end in self._page.evaluate("sent_chunks"):
            if connection in but:
                continue
            if not sent.covers(start, end):
                found[start // PART].add(connection)
            sent = sent.add(start, end)
        return {part: senders for part, senders in found.items() if len(senders) > 1}


@pytest.fixture
def wire(page: Page) -> Wire:
    return Wire(page)


@pytest.fixture
def file_size() -> int:
    return 40 * MIB + 12_345


def test_parts_arrive_whole_on_one_connection(
    wire: Wire, upload_page: UploadPage, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    upload_page.upload(ticket, file.path).start().wait_until_finished()
    app.assert_received(ticket, file)
    assert sorted(wire.senders) == list(range(41))
    assert wire.shared() == {}


def test_a_started_part_is_finished_by_one_connection_after_a_reconnect(
    wire: Wire, page: Page, proxy: FaultProxy, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    upload = UploadPage(page, app, proxy.host).open().upload(ticket, file.path).start_slowly()
    upload.wait_for(lambda now: now.bytes_acked > 2 * PART, "some parts")
    before = set(wire.chunks)
    assert proxy.cut()
    upload.set("max_rate", 0)
    upload.wait_until_finished()
    app.assert_received(ticket, file)
    assert wire.shared(but=before) == {}
    assert set(wire.chunks) > before


def count_open(socket: WebSocket, at_once: list[int]) -> None:
    """Append to `at_once` how many are open, now and when this one has ended: a busy machine may lose some."""
    at_once.append(at_once[-1] + 1)
    socket.on("close", lambda _: at_once.append(at_once[-1] - 1))


def test_sixteen_connections_keep_to_their_parts(
    wire: Wire, page: Page, proxy: FaultProxy, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    """On a line that is so long that the library begins with all connections that it may have."""
    upload_page = UploadPage(page, app, proxy.host).open()
    at_once = [0]
    page.on("websocket", lambda socket: count_open(socket, at_once))
    proxy.limit(16 * MIB)
    proxy.stall()
    accepted = proxy.counters.accepted
    upload = upload_page.upload(ticket, file.path).start()
    proxy.wait_for(lambda counters: counters.accepted > accepted, "the first connection")
    page.wait_for_timeout(LONG_SETUP)
    proxy.resume()
    upload.wait_until_finished()
    app.assert_received(ticket, file)
    assert max(at_once) == 16
    assert len(wire.chunks) >= 12, "nearly all had something to send"
    assert wire.shared() == {}
