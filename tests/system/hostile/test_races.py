"""Both transports and a cancel on one ticket, in two processes: one outcome, one callback, one whole file or none."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.app_stub import AppStub
from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until
from tests.system.hostile.wire import Socket, ask, new_ticket, request, status_of, upload_path

SIZE, PIECE = 200_000, 20_000
ROUNDS = 8


@pytest.mark.parametrize("cancels", [0, 2])
def test_racing_requests_end_in_one_outcome(tmp_path: Path, app_stub: AppStub, cancels: int) -> None:
    with IncomingServer(tmp_path / "storage", "--workers", "2") as server:
        for _ in range(ROUNDS):
            one_round(server, app_stub, cancels)
        # What another worker was just writing when an upload was cancelled the janitor removes a little later.
        parts = [path.stem for path in server.storage_dir.rglob("*.part")]
        assert all(status_of(server, ticket)["state"] == "cancelled" for ticket in parts)
        assert server.stop() == 0
        server.assert_quiet()


def one_round(server: IncomingServer, app: AppStub, cancels: int) -> None:
    content = os.urandom(SIZE)
    ticket = new_ticket(server, app.url, removeFileWhenFinished="false")
    answers: list[int] = []
    closed: list[int | None] = []

    def by_put() -> None:
        for start in range(0, SIZE, PIECE):
            told = f"Content-Range: bytes {start}-{start + PIECE - 1}/{SIZE}"
            put = request(f"PUT {upload_path(ticket)}", told, body=content[start : start + PIECE])
            status = ask(server, put)[0]
            while status == 503:  # the WebSocket's hello came between its writing and its commit
                status = ask(server, put)[0]
            answers.append(status)

    def by_websocket() -> None:
        with Socket(server.port, ticket) as socket:
            socket.say(type="hello", session="hostile-session", name="a.bin", size=SIZE)
            for start in reversed(range(0, SIZE, PIECE)):
                socket.chunk(start, content[start : start + PIECE])
            closed.append(socket.closing()[1])

    def cancel() -> None:
        answers.append(ask(server, request(f"DELETE {upload_path(ticket)}"))[0])

    run([by_put, by_websocket] + [cancel] * cancels)
    wait_until(lambda: status_of(server, ticket)["state"] in ("finished", "cancelled"), "an outcome")
    [callback] = app.wait_for(1, ticket)
    is_cancelled = callback.params["cancelled"] == "yes"
    assert is_cancelled == (status_of(server, ticket)["state"] == "cancelled")
    assert set(answers) <= {200, 308, 410, 412}, answers
    assert closed == [1000]
    if not is_cancelled:
        assert Path(callback.params["filename"]).read_bytes() == content
    else:
        assert cancels


def run(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
