"""Whoever started the server is told when it serves, as sd_notify(3) says, and not before."""

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from incoming.server.sd_notify import notify_ready
from tests.conftest import StartServer


class Manager:
    """What systemd has at the other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.variable = address.replace("\0", "@")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(30)

    def hear(self) -> bytes:
        return self._socket.recv(100)

    def has_heard_nothing(self) -> bool:
        return not select.select([self._socket], [], [], 0)[0]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify")
    made = Manager(name if request.param == "file" else "\0" + name)
    yield made
    made.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_systemd_is_notified_once(workers: str, manager: Manager, start_server: StartServer) -> None:
    server = start_server("--workers", workers, env={"NOTIFY_SOCKET": manager.variable})
    assert manager.hear() == b"READY=1"
    assert server.stop() == 0
    assert manager.has_heard_nothing()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_cannot_start_is_not_ready(workers: str, manager: Manager, start_server: StartServer) -> None:
    server = start_server("--workers", workers, env={"NOTIFY_SOCKET": manager.variable})
    assert manager.hear() == b"READY=1"
    server.stop()
    (server.storage_dir / "incoming.sqlite").write_bytes(b"no database" * 1000)
    server.expect_noise("file is not a database")
    with pytest.raises(AssertionError, match="ended with code 1"):
        server.start()
    assert manager.has_heard_nothing()


def test_a_missing_socket_does_not_stop_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify_ready()
    assert "cannot notify systemd that the server is ready" in caplog.text


def test_without_a_socket_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_ready()
    assert caplog.text == ""
