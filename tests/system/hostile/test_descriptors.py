"""A worker with few descriptors, and connections of proxies, which no limit per client counts."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until
from tests.system.hostile.conftest import LogLines
from tests.system.hostile.wire import Socket, Wire, ask, new_ticket, request, upload_path

DESCRIPTORS = 160
FLOOD = 400


@pytest.fixture(scope="module")
def hostile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IncomingServer]:
    """All of 127.0.0.0/8 is exempt from the limits per client, as a proxy is."""
    directory = tmp_path_factory.mktemp("descriptors") / "storage"
    with IncomingServer(directory, "--workers", "1", descriptors=DESCRIPTORS) as running:
        yield running
        assert running.stop() == 0
        running.assert_quiet()


def open_descriptors(server: IncomingServer) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def flood(server: IncomingServer) -> list[Wire]:
    """Open more connections than there are descriptors; return when the server has seen all of them."""
    idle = [Wire(server.port) for _ in range(FLOOD)]
    most = FLOOD - DESCRIPTORS
    wait_until(lambda: sum(wire.is_closed for wire in idle) >= most, "those being turned away that are too many")
    return idle


def test_open_uploads_continue_when_clients_take_all_descriptors(
    hostile_server: IncomingServer, log_lines: LogLines
) -> None:
    tickets = [new_ticket(hostile_server) for _ in range(5)]
    uploads = [Socket(hostile_server.port, ticket) for ticket in tickets]
    kept = Wire(hostile_server.port)
    kept.send(request(f"GET {upload_path(tickets[0])}"))
    kept.until(b'"new"')
    log_lines()
    idle = flood(hostile_server)
    # Hello and first chunk need a file and the database.
    for upload in uploads:
        assert upload.hello(size=10)["type"] == "welcome"
        upload.chunk(0, b"12345")
        assert upload.hear()["type"] == "ack"
    assert open_descriptors(hostile_server) < DESCRIPTORS
    assert ask(hostile_server, request("GET /incoming/health"))[0] == 200
    assert len(new_ticket(hostile_server)) == 36
    status, head, body = ask(hostile_server, request("GET /incoming/frontend/incoming.js"))
    assert (status, body) == (503, b"the server has no file descriptor left for another connection")
    assert "Retry-After: 5" in head
    new = log_lines()
    assert len(new) < 20, new
    [line] = [line for line in new if " INFO " not in line]
    assert "out of file descriptors for clients: new connections are refused" in line
    for wire in idle:
        wire.socket.close()
    wait_until(
        lambda: ask(hostile_server, request("GET /incoming/frontend/incoming.js"))[0] == 200, "room for others again"
    )


def test_health_checks_are_answered_while_other_requests_are_refused(hostile_server: IncomingServer) -> None:
    """The places for health checks and backends are free again after one request each."""
    idle = flood(hostile_server)
    for _ in range(30):
        assert ask(hostile_server, request("GET /incoming/health", close=False))[0] == 200
        refused = ask(hostile_server, request("POST /incoming/frontend/upload/x", body=b"x" * 1000))
        assert refused[0] == 503
    for wire in idle:
        wire.socket.close()


def test_accepting_pauses_when_the_reserve_is_used_up(hostile_server: IncomingServer, log_lines: LogLines) -> None:
    wait_until(lambda: ask(hostile_server, request("GET /incoming/health"))[0] == 200, "room after the last test")
    ticket = new_ticket(hostile_server)
    upload = Socket(hostile_server.port, ticket)
    assert upload.hello(size=20)["type"] == "welcome"  # completing the file would need descriptors
    upload.chunk(0, b"12345")
    assert upload.hear()["type"] == "ack"
    log_lines()
    _, hard = resource.prlimit(hostile_server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(hostile_server.pid, resource.RLIMIT_NOFILE, (open_descriptors(hostile_server), hard))
    try:
        waiting = [Wire(hostile_server.port) for _ in range(5)]
        wait_until(lambda: "cannot accept connections" in hostile_server.log, "the line in the log")
        calls = switches(hostile_server)
        upload.chunk(5, b"67890")
        assert upload.hear() == {"type": "ack", "chunks": [[5, 10]]}
        assert switches(hostile_server) - calls < 1000, "the event loop spins"
    finally:
        resource.prlimit(hostile_server.pid, resource.RLIMIT_NOFILE, (hard, hard))
    # Those that waited are served when there are descriptors again.
    waiting[0].send(request("GET /incoming/health"))
    assert waiting[0].until_closed().startswith(b"HTTP/1.1 200 ")
    assert [line.partition(": ")[2][:19] for line in log_lines() if "cannot accept" in line] == ["Too many open files"]


def switches(server: IncomingServer) -> int:
    """Return how often the server's main thread has waited."""
    status = Path(f"/proc/{server.pid}/task/{server.pid}/status").read_text()
    return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])
