"""The entrance itself, in front of what is no gateway: it leaves no connection open when it ends."""

import socket
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from tests.support.ceph_cluster import Gateway
from tests.system.objects.store_entrance import StoreEntrance

LARGE = 64 * 1024 * 1024
"""More bytes than the buffers of two connections hold."""


def entrance_to(listening: socket.socket, tmp_path: Path) -> StoreEntrance:
    return StoreEntrance([Gateway(tmp_path, "client.rgw", listening.getsockname()[1])])


def connect(entrance: StoreEntrance) -> socket.socket:
    return socket.create_connection(("127.0.0.1", entrance.port), timeout=10)


def put(length: int, content: bytes = b"") -> bytes:
    return b"PUT /part HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length + content


def assert_ends(connection: socket.socket) -> None:
    """Read until the other end has closed the connection. Raises TimeoutError."""
    connection.settimeout(10)
    with suppress(ConnectionResetError):
        while connection.recv(1 << 20):
            pass


def test_no_connection_stays_open_to_a_gateway_that_reads_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        with entrance_to(frozen, tmp_path) as entrance, connect(entrance) as client:
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.sendall(put(LARGE, bytes(LARGE)))
        with frozen.accept()[0] as connection:
            assert_ends(connection)


def test_no_connection_stays_open_to_a_client_that_reads_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as connection:
                connection.recv(1 << 16)
                connection.sendall(bytes(LARGE))

        gateway = Thread(target=answer)
        gateway.start()
        with entrance_to(listening, tmp_path) as entrance:
            client = connect(entrance)
            client.sendall(put(0))
            client.recv(1, socket.MSG_PEEK)
        gateway.join()
        with client:
            assert_ends(client)


def test_no_connection_stays_open_that_has_just_come(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        with entrance_to(frozen, tmp_path) as entrance:
            client = connect(entrance)
        with client:
            assert_ends(client)
