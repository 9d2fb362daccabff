"""The proxy itself, against a server that sends back what it gets."""

import errno
import hashlib
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.fault_proxy import TO_CLIENT, TO_SERVER, FaultProxy
from tests.support.ports import free_port
from tests.support.waiting import wait_until


class EchoServer:
    """Echoes every connection; knows how many it has and how each ended."""

    def __init__(self) -> None:
        self.endings: list[str] = []
        self.received = bytearray()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    self.received += data
                    connection.sendall(data)
                self.endings.append("FIN")
            except OSError as error:
                self.endings.append(errno.errorcode.get(error.errno or 0, "?"))


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: EchoServer) -> Iterator[FaultProxy]:
    with FaultProxy(echo.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with connect(proxy) as client:
        yield client


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def receive(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = client.recv(count - len(data))
        if not piece:
            break
        data += piece
    return data


def echoed(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return receive(client, len(data))


def assert_silent(client: socket.socket) -> None:
    """Nothing comes and nothing ends, for as long as a whole echo takes many times over."""
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(10)


def test_forwards_both_ways_unchanged(proxy: FaultProxy, client: socket.socket) -> None:
    data = random.Random(1).randbytes(5_000_000)
    writer = threading.Thread(target=client.sendall, args=(data,))
    writer.start()
    back = receive(client, len(data))
    writer.join()
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
    counted = proxy.counters
    assert (counted.accepted, counted.bytes_to_server, counted.bytes_to_client) == (1, len(data), len(data))


def test_end_of_one_side_reaches_the_other(proxy: FaultProxy, echo: EchoServer, client: socket.socket) -> None:
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert receive(client, 100) == b"last words"
    wait_until(lambda: echo.endings == ["FIN"], "the server to see the end")
    wait_until(lambda: proxy.open_connections == 0, "the connection to be gone")


def test_unreachable_server_resets_the_client() -> None:
    with FaultProxy(free_port()) as proxy:
        # The reset may come before connect() has returned.
        with pytest.raises(ConnectionResetError), connect(proxy) as client:
            client.recv(1)
        assert proxy.counters.unreachable == 1


def test_limit_is_kept_and_can_be_lifted(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.limit(20_000, TO_SERVER)
    client.sendall(bytes(200_000))
    proxy.wait_for(lambda counted: counted.bytes_to_server > 0, "first bytes through the narrow line")
    assert proxy.counters.bytes_to_server < 100_000, "ten seconds' worth must not be through already"
    proxy.limit(None)
    assert len(receive(client, 200_000)) == 200_000


def test_limited_line_pushes_back(proxy: FaultProxy, client: socket.socket) -> None:
    """The client cannot send far ahead of a slow line."""
    proxy.limit(1_000)
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(20_000_000))


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_stall_holds_data_back_until_resume(
    proxy: FaultProxy, echo: EchoServer, client: socket.socket, direction: object
) -> None:
    assert echoed(client, b"before") == b"before"
    assert direction in (TO_SERVER, TO_CLIENT)
    proxy.stall(TO_SERVER if direction is TO_SERVER else TO_CLIENT)
    client.sendall(b"during")
    proxy.wait_for(lambda counted: counted.stalled == 1, "data to be held back")
    assert_silent(client)
    assert bytes(echo.received) == (b"before" if direction is TO_SERVER else b"beforeduring")
    proxy.resume()
    assert receive(client, 6) == b"during"


def test_cut_is_a_proper_end(proxy: FaultProxy, echo: EchoServer, client: socket.socket) -> None:
    assert echoed(client, b"x") == b"x"
    assert proxy.cut() == 1
    assert client.recv(1) == b""
    wait_until(lambda: echo.endings == ["FIN"], "the server to see the end")
    assert proxy.counters.cut == 1


def test_cut_in_full_flow_is_a_proper_end_as_well(proxy: FaultProxy, echo: EchoServer, client: socket.socket) -> None:
    proxy.stall(TO_SERVER)
    client.sendall(bytes(150_000))
    proxy.wait_for(lambda counted: counted.stalled == 1, "data to be held back")
    assert proxy.cut() == 1
    assert client.recv(1) == b"", "a FIN, in spite of data that the proxy has not read"
    client.shutdown(socket.SHUT_WR)
    wait_until(lambda: echo.endings == ["FIN"], "the server to see the end")
    wait_until(lambda: proxy.open_connections == 0, "the connection to be gone")


def test_reset_is_a_reset_on_both_sides(proxy: FaultProxy, echo: EchoServer, client: socket.socket) -> None:
    assert echoed(client, b"x") == b"x"
    assert proxy.reset() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    wait_until(lambda: echo.endings == ["ECONNRESET"], "the server to see the reset")
    assert proxy.counters.reset == 1


def test_cut_after_lets_exactly_so_many_bytes_through(
    proxy: FaultProxy, echo: EchoServer, client: socket.socket
) -> None:
    assert echoed(client, b"12345") == b"12345"
    proxy.cut_after(100_000)
    client.sendall(bytes(100_001))
    proxy.wait_for(lambda counted: counted.cut == 1, "the cut")
    wait_until(lambda: len(echo.endings) == 1, "the server to see the end")
    assert len(echo.received) == 5 + 100_000
    with connect(proxy) as later:
        assert len(echoed(later, bytes(200_000))) == 200_000, "it happens once unless told otherwise"


def test_reset_after_counts_for_each_connection_alone(proxy: FaultProxy) -> None:
    proxy.reset_after(10, TO_CLIENT, times=2)
    for _ in range(2):
        with connect(proxy) as client:
            client.sendall(bytes(9))
            assert receive(client, 9) == bytes(9)
            client.sendall(bytes(2))
            with pytest.raises(ConnectionResetError):
                receive(client, 3)
    assert proxy.counters.reset == 2
    with connect(proxy) as client:
        assert echoed(client, bytes(50)) == bytes(50)


def test_reset_after_nothing_hits_new_connections_at_once(proxy: FaultProxy, echo: EchoServer) -> None:
    proxy.reset_after(0)
    with pytest.raises(ConnectionResetError), connect(proxy) as client:
        client.recv(1)
    assert proxy.counters.reset == 1
    assert not echo.received


def test_half_open_leaves_both_sides_in_the_dark(proxy: FaultProxy, echo: EchoServer, client: socket.socket) -> None:
    assert echoed(client, b"x") == b"x"
    assert proxy.half_open() == 1
    client.sendall(b"is anybody there?")
    assert_silent(client)
    with connect(proxy) as newcomer:
        assert echoed(newcomer, b"y") == b"y"
    client.close()
    wait_until(lambda: echo.endings == ["FIN"], "the newcomer's end")
    assert proxy.counters.half_opened == 1
    wait_until(lambda: proxy.open_connections == 1, "the end of the newcomer alone")
    assert bytes(echo.received) == b"xy"


def test_refuse_and_accept(proxy: FaultProxy, client: socket.socket) -> None:
    assert echoed(client, b"x") == b"x"
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    assert echoed(client, b"y") == b"y", "connections that exist stay"
    proxy.accept()
    with connect(proxy) as newcomer:
        assert echoed(newcomer, b"z") == b"z"


def test_answers_in_the_servers_place(proxy: FaultProxy, echo: EchoServer) -> None:
    proxy.answer(502, "no upstream")
    with connect(proxy) as client:
        client.sendall(b"PUT /x HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000))
        client.shutdown(socket.SHUT_WR)
        answer = receive(client, 10_000)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert answer.endswith(b"\r\n\r\nno upstream")
    assert proxy.counters.answered == 1
    assert not echo.received
    proxy.answer(None)
    with connect(proxy) as client:
        assert echoed(client, b"x") == b"x"


def test_strips_the_upgrade_header(proxy: FaultProxy) -> None:
    proxy.strip_upgrade()
    with connect(proxy) as client:
        client.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nupgrade: websocket\r\n\r\nrest")
        wanted = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nrest"
        assert receive(client, len(wanted)) == wanted
    assert proxy.counters.upgrades_stripped == 1


def test_forwards_other_requests_unchanged_while_stripping(proxy: FaultProxy) -> None:
    proxy.strip_upgrade()
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
    with connect(proxy) as client:
        assert echoed(client, request) == request
    assert proxy.counters.upgrades_stripped == 0


def test_closes_idle_connections_only(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.close_idle(1.5)
    for _ in range(8):
        assert echoed(client, b"busy") == b"busy"
        client.settimeout(0.25)
        with pytest.raises(TimeoutError):
            client.recv(1)
    client.settimeout(10)
    assert proxy.counters.idle_closed == 0
    assert client.recv(1) == b""
    assert proxy.counters.idle_closed == 1
