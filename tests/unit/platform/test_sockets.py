"""Connections whose kernel tells nothing, lays its figures out otherwise, or lacks an option."""

import socket
import sys

import pytest

from incoming.platform import sockets


class Line:
    """A connection that notes its options, and whose kernel would answer with nonsense."""

    def __init__(self) -> None:
        self.options: list[tuple[int, int]] = []

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if option == socket.SO_KEEPALIVE and level == socket.SOL_SOCKET:
            raise OSError(22, "Invalid argument")
        self.options.append((option, value))

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        return b"\xff" * size


def unknown(line: Line) -> list[object]:
    return [
        *(sockets.received_by(line), sockets.acknowledged_by(line), sockets.figures_of(line)),  # type: ignore[arg-type]
        sockets.silent_for(line, 5.0),  # type: ignore[arg-type]
    ]


def test_figures_of_another_layout_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert None not in unknown(Line())
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert unknown(Line()) == [None, None, None, 5.0]


def test_a_system_without_figures_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_INFO")
    assert unknown(Line()) == [None, None, None, 5.0]


def test_each_option_that_exists_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line()
    sockets.limit_silence(line, idle=10, interval=5, unacknowledged=5.0)  # type: ignore[arg-type]
    assert line.options == [
        (socket.TCP_KEEPIDLE, 10),
        (socket.TCP_KEEPINTVL, 5),
        (socket.TCP_USER_TIMEOUT, 5000),
    ]
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", 16, raising=False)
    mac = Line()
    sockets.limit_silence(mac, idle=10, interval=5, unacknowledged=5.0)  # type: ignore[arg-type]
    assert mac.options == [(16, 10), (socket.TCP_KEEPINTVL, 5)]
