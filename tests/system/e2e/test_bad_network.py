"""What bad networks do between a real browser and the real server: every fault costs time, and nothing else."""

import re
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, WebSocket

from tests.conftest import StartProxy, StartServer
from tests.support.fault_proxy import TO_CLIENT, TO_SERVER, Direction, FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import SLOW, PageUpload, UploadPage

KIB, MIB = 1 << 10, 1 << 20
ESTABLISHED = "01"
"""In the kernel's table of TCP connections."""


@pytest.fixture
def file_size() -> int:
    return 12 * MIB


@pytest.fixture(params=["auto", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def host(proxy: FaultProxy) -> str:
    return proxy.host


def assert_only_delayed(upload: PageUpload) -> None:
    """It has finished, and what was in the way was no error that anybody had to be told of."""
    upload.wait_until_finished()
    assert {call.callback for call in upload.calls} == {"onprogress", "onfinished"}


def carrying(server: IncomingServer, transport: str) -> int:
    """Connections that carry an upload, as the server itself sees it."""
    answer = requests.get(f"{server.base_url}/incoming/metrics", timeout=30)
    values = re.findall(rf'^incoming_connections{{transport="{transport}"}} (\d+)', answer.text, re.MULTILINE)
    return sum(map(int, values))


# --- Connections end


@pytest.mark.promise(3)
def test_a_cut_connection_is_resumed(
    slow: PageUpload, proxy: FaultProxy, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    proxy.cut_after(MIB + 777)
    proxy.wait_for(lambda counters: counters.cut == 1, "a connection to be cut within a chunk")
    slow.set("max_rate", 0)
    assert_only_delayed(slow)
    app.assert_received(ticket, file)


@pytest.mark.promise(3, 111)
def test_repeated_resets_are_survived(
    slow: PageUpload, proxy: FaultProxy, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    """Each new connection gets somewhat farther, within a chunk each time."""
    slow.set("max_rate", 0)
    proxy.reset_after(MIB + 777, times=5)
    assert_only_delayed(slow)
    assert proxy.counters.reset == 5
    app.assert_received(ticket, file)
    acked = [moment.bytes_acked for moment in slow.moments]
    assert acked == sorted(acked), "what was acknowledged has arrived"


@pytest.mark.promise(3)
def test_an_absent_server_is_retried(
    slow: PageUpload, proxy: FaultProxy, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    proxy.refuse()
    assert proxy.reset() > 0
    lost = slow.wait_for(lambda now: not now.connected, "the loss to be noticed")
    assert lost.state_msg == "lost connection, trying to connect again"
    assert (lost.can_pause, lost.can_cancel, lost.error_code) == (True, True, None)
    proxy.accept()
    slow.set("max_rate", 0)
    assert_only_delayed(slow)
    app.assert_received(ticket, file)


# --- Connections fall silent


@pytest.fixture
def attentive(start_server: StartServer) -> IncomingServer:
    """A server whose clients notice a dead line within seconds, and that itself takes its time."""
    return start_server("--ping-interval", "1s", "--dead-after", "10min")


@pytest.mark.promise(3)
@pytest.mark.parametrize("transport", ["auto", "http"])
def test_a_silent_peer_is_detected_and_replaced(
    page: Page, start_server: StartServer, start_proxy: StartProxy, file: KnownFile, transport: str
) -> None:
    """The first new connection takes over, at once, although the server takes the dead one for a living one."""
    # One connection: with several, others go on and nobody is told of a loss.
    attentive = start_server("--ping-interval", "1s", "--dead-after", "10min", "--connections-per-upload", "1")
    proxy = start_proxy(attentive.port)
    with UploadApp(attentive.base_url) as app:
        upload_page = UploadPage(page, app, proxy.host).open(transport=transport)
        ticket = app.new_ticket()
        proxy.limit(SLOW, TO_SERVER)  # so that there always is a chunk in flight
        slow = upload_page.upload(ticket, file.path).start()
        slow.wait_for_bytes()
        proxy.stall(TO_CLIENT)
        slow.wait_for(lambda now: now.chunks_ahead, "a chunk to be on its way")
        sockets = len(upload_page.sockets)
        assert proxy.half_open() > 0
        proxy.resume(TO_CLIENT)
        slow.wait_for(lambda now: not now.connected, "the silence to be noticed")
        slow.wait_for(lambda now: now.connected, "another connection to take over")
        if transport == "auto":
            assert len(upload_page.sockets) == sockets + 1, "there was no second attempt"
        proxy.limit(None)
        assert_only_delayed(slow)
        app.assert_received(ticket, file)
        assert proxy.counters.half_opened > 0
        assert "nothing came for" not in attentive.log


@pytest.mark.promise(3)
def test_a_change_of_address_is_survived(
    page: Page, attentive: IncomingServer, start_proxy: StartProxy, file: KnownFile
) -> None:
    """Another network, another address: to the server they are the same uploaders all the same."""
    proxy = start_proxy(attentive.port)
    with UploadApp(attentive.base_url) as app:
        upload_page = UploadPage(page, app, proxy.host).open()
        uploads = {}
        for transport in ("websocket", "http"):
            page.evaluate("(transport) => incoming.set_transport(transport)", transport)
            ticket = app.new_ticket()
            uploads[ticket] = slow = upload_page.upload(ticket, file.path)
            slow.set("max_rate", SLOW / 8)  # neither is to finish while the other one finds its way back
            assert slow.start().wait_for_bytes().transport == transport
        assert addresses_of_clients(attentive) == {"127.0.0.1"}
        page.context.set_offline(True)
        proxy.move("127.0.0.2")
        assert proxy.half_open() >= len(uploads)
        before = {ticket: slow.now.bytes_acked for ticket, slow in uploads.items()}
        page.context.set_offline(False)
        for ticket, slow in uploads.items():
            assert 0 < before[ticket] < slow.wait_for_bytes(before[ticket] + 1).bytes_acked < file.size
            assert "127.0.0.2" in addresses_of_clients(attentive)
        for ticket, slow in uploads.items():
            slow.set("max_rate", 0)
            assert_only_delayed(slow)
            app.assert_received(ticket, file)
        assert "nothing came for" not in attentive.log, "the server still believed in the old address"


def addresses_of_clients(server: IncomingServer) -> set[str]:
    """Where the server's connections come from, as its kernel sees it."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    there = [row[2] for row in rows if row[1].endswith(f":{server.port:04X}") and row[3] == ESTABLISHED]
    return {
        str(IPv4Address(int.from_bytes(bytes.fromhex(remote.partition(":")[0]), sys.byteorder))) for remote in there
    }


@pytest.mark.parametrize("transport", ["websocket", "http"])
def test_the_slot_of_a_silent_peer_is_freed(
    page: Page, start_server: StartServer, start_proxy: StartProxy, file: KnownFile, transport: str
) -> None:
    """By nothing but the server's own clock: this client never comes back."""
    server = start_server("--ping-interval", "1s", "--dead-after", "2s")
    proxy = start_proxy(server.port)
    with UploadApp(server.base_url) as app:
        upload_page = UploadPage(page, app, proxy.host).open(transport=transport)
        proxy.limit(SLOW)
        upload = upload_page.upload(app.new_ticket(), file.path).start()
        upload.wait_for_bytes()
        proxy.limit(20_000)
        wait_until(lambda: carrying(server, transport) > 0, "a chunk to be on its way")
        proxy.refuse()
        assert proxy.half_open() > 0
        assert carrying(server, transport) > 0, "nobody has told the server"
        wait_until(lambda: carrying(server, transport) == 0, "the server to give the dead connections up")
        assert proxy.counters.half_opened == proxy.open_connections > 0, "the proxy has not"


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    ("transport", "direction"), [("auto", TO_SERVER), ("auto", TO_CLIENT), ("http", TO_SERVER), ("http", TO_CLIENT)]
)
def test_a_stalled_connection_is_replaced(
    page: Page,
    start_server: StartServer,
    start_proxy: StartProxy,
    file: KnownFile,
    transport: str,
    direction: Direction,
) -> None:
    """In one direction nothing goes, for longer than anybody believes in the connection."""
    server = start_server("--ping-interval", "1s", "--dead-after", "2s")
    proxy = start_proxy(server.port)
    with UploadApp(server.base_url) as app:
        upload_page = UploadPage(page, app, proxy.host).open(transport=transport)
        ticket = app.new_ticket()
        slow = upload_page.upload(ticket, file.path)
        slow.set("max_rate", SLOW)
        slow.start().wait_for_bytes()
        proxy.stall(direction)
        proxy.wait_for(lambda counters: counters.stalled, "something to be held up")
        slow.wait_for(lambda now: not now.connected, "the silence to be noticed")
        proxy.resume(direction)
        slow.set("max_rate", 0)
        assert_only_delayed(slow)
        app.assert_received(ticket, file)


@pytest.mark.promise(3)
def test_a_short_stall_keeps_the_connection(
    slow: PageUpload, proxy: FaultProxy, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    """Nobody despairs of a line because of a moment's silence."""
    proxy.stall()
    proxy.wait_for(lambda counters: counters.stalled, "something to be held up")
    proxy.resume()
    slow.set("max_rate", 0)
    assert_only_delayed(slow)
    app.assert_received(ticket, file)
    first = next(number for number, moment in enumerate(slow.moments) if moment.connected)
    assert all(moment.connected for moment in slow.moments[first:-1]), "the connection was kept"


@pytest.mark.promise(3)
@pytest.mark.parametrize("transport", ["auto", "http"])
def test_a_slow_connection_is_kept(
    page: Page, start_server: StartServer, start_proxy: StartProxy, tmp_path: Path, transport: str
) -> None:
    """A chunk takes several times as long as what the server and the library take for death."""
    server = start_server("--ping-interval", "1s", "--dead-after", "2s")
    proxy = start_proxy(server.port)
    file = make_file(tmp_path / "file.bin", 70 * KIB)
    with UploadApp(server.base_url) as app:
        upload_page = UploadPage(page, app, proxy.host).open(transport=transport)
        ticket = app.new_ticket()
        upload = upload_page.upload(ticket, file.path).start()
        proxy.limit(10_000, TO_SERVER)
        assert_only_delayed(upload)
        app.assert_received(ticket, file)
    moments = upload.moments
    first = next(number for number, moment in enumerate(moments) if moment.connected)
    assert all(moment.connected for moment in moments[first:-1]), "the connection was kept"
    assert "nothing came for" not in server.log
    assert proxy.counters.bytes_to_server < 1.5 * file.size, "hardly a byte was sent twice"


# --- What stands in between


@pytest.mark.promise(3)
@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_without_its_server_is_retried(
    slow: PageUpload, proxy: FaultProxy, app: UploadApp, file: KnownFile, ticket: str, status: int
) -> None:
    proxy.answer(status, "<html>the upstream is away</html>")
    proxy.cut()
    answered = proxy.counters.answered
    proxy.wait_for(lambda counters: counters.answered >= answered + 4, "some attempts to be answered by the proxy")
    slow.wait_for(lambda now: not now.connected, "the page to show that it is not connected")
    proxy.answer(None)
    slow.set("max_rate", 0)
    assert_only_delayed(slow)
    assert {moment.error_code for moment in slow.moments} <= {None, 1004}
    assert slow.now.error_code is None
    app.assert_received(ticket, file)


@pytest.mark.promise(3)
def test_pings_keep_an_idle_connection_open(
    page: Page, attentive: IncomingServer, start_proxy: StartProxy, file: KnownFile
) -> None:
    """The app takes its time, longer than a proxy on the way keeps silent connections."""
    proxy = start_proxy(attentive.port)
    pings: list[str] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda data: pings.append(str(data)) if '"ping"' in str(data) else None)

    page.on("websocket", listen)
    with UploadApp(attentive.base_url, default="wait") as app:
        upload_page = UploadPage(page, app, proxy.host).open()
        ticket = app.new_ticket()
        upload = upload_page.upload(ticket, file.path).start()
        upload.wait_for(lambda now: now.state_msg == "processing file on server", "the app to say wait")
        proxy.close_idle(3)
        wait_until(lambda: upload.now and proxy.open_connections == 1, "the other connections to be closed as idle")
        closed = proxy.counters.idle_closed
        heard = len(pings)
        wait_until(lambda: upload.now and len(pings) >= heard + 5, "pings for longer than the proxy's patience")
        assert proxy.counters.idle_closed == closed
        assert upload.now.connected
        assert app.finish_upload(ticket) == "ok"
        assert_only_delayed(upload)
        app.assert_received(ticket, file)
        assert not any(moment.state_msg.startswith("file has arrived; lost") for moment in upload.moments)


@pytest.mark.promise(3)
def test_a_connection_closed_during_the_handover_is_reopened(
    upload_page: UploadPage, proxy: FaultProxy, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    """A proxy with less patience than the server has between two pings."""
    app.default = "wait"
    upload = upload_page.upload(ticket, file.path).start()
    upload.wait_for(lambda now: now.state_msg == "processing file on server", "the app to say wait")
    closed = proxy.counters.idle_closed
    proxy.close_idle(0.5)
    proxy.wait_for(lambda counters: counters.idle_closed >= closed + 3, "idle connections to be closed")
    upload.wait_for(lambda now: now.connected, "the upload to be connected again")
    assert app.finish_upload(ticket) == "ok"
    assert_only_delayed(upload)
    app.assert_received(ticket, file)


# --- The browser knows that there is no network


@pytest.mark.promise(3)
@pytest.mark.parametrize("transport", ["auto", "http"])
def test_an_upload_resumes_when_the_browser_is_online_again(
    page: Page, proxy: FaultProxy, app: UploadApp, file: KnownFile, ticket: str, transport: str
) -> None:
    """When the browser is online again the library connects at once: it does so although no timer runs."""
    page.clock.install()
    upload_page = UploadPage(page, app, proxy.host).open(transport=transport)
    slow = upload_page.upload(ticket, file.path)
    slow.set("max_rate", SLOW)
    slow.start().wait_for_bytes()
    proxy.refuse()
    assert proxy.cut() > 0
    slow.wait_for(lambda now: not now.connected, "the loss to be noticed")
    page.context.set_offline(True)
    proxy.accept()
    accepted = proxy.counters.accepted
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 60)
    assert not slow.now.connected
    assert proxy.counters.accepted == accepted, "a browser without a network was to connect nowhere"
    page.context.set_offline(False)
    slow.wait_for(lambda now: now.connected, "the upload to go on")
    page.clock.resume()
    slow.set("max_rate", 0)
    assert_only_delayed(slow)
    app.assert_received(ticket, file)


@pytest.mark.promise(3)
@pytest.mark.parametrize("transport", ["auto", "http"])
def test_an_upload_resumes_after_the_machine_slept(
    page: Page, start_server: StartServer, start_proxy: StartProxy, file: KnownFile, transport: str
) -> None:
    """An hour later everybody else has forgotten its connections, and nobody tells it."""
    page.clock.install()
    # One connection: with several, one that is made anew goes on and nobody is told of a loss.
    server = start_server("--connections-per-upload", "1")
    proxy = start_proxy(server.port)
    with UploadApp(server.base_url) as app:
        upload_page = UploadPage(page, app, proxy.host).open(transport=transport)
        ticket = app.new_ticket()
        proxy.limit(SLOW)
        upload = upload_page.upload(ticket, file.path).start()
        upload.wait_for_bytes()
        proxy.stall(TO_CLIENT)
        upload.wait_for(lambda now: now.chunks_ahead, "a chunk to be on its way")
        assert proxy.half_open() > 0
        proxy.resume(TO_CLIENT)
        page.clock.fast_forward(3_600_000)
        upload.wait_for(lambda now: not now.connected, "the loss to be noticed", 120)
        proxy.limit(None)
        assert_only_delayed(upload)
        app.assert_received(ticket, file)
        assert proxy.counters.half_opened > 0
