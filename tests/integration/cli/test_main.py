"""The program: what it says at the start, how it ends, how it looks like one server with several workers."""

import asyncio
import http.client
import json
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tornado.websocket import websocket_connect

from incoming import __version__
from incoming.cli.main import announcements, url
from incoming.settings.settings import load_settings
from tests.conftest import StartServer
from tests.support.app_stub import AppStub
from tests.support.incoming_server import IncomingServer
from tests.support.tools import ROOT
from tests.support.waiting import wait_until

NEW_UPLOAD = "/incoming/0.1/backend/new_upload"


def new_upload_settings(server: IncomingServer, callback: str = "http://127.0.0.1:9/done") -> str:
    response = requests.post(server.base_url + NEW_UPLOAD, data={"signalFinishURL": callback}, timeout=20)
    assert response.status_code == 200, response.text
    return response.text


def state(server: IncomingServer, ticket_id: str) -> str:
    answer = requests.get(f"{server.base_url}/incoming/frontend/upload/{ticket_id}", timeout=20)
    return str(answer.json()["state"])


def put(server: IncomingServer, ticket_id: str, content: bytes, content_range: str) -> requests.Response:
    path = f"{server.base_url}/incoming/frontend/upload/{ticket_id}?filename=a"
    return requests.put(path, content, headers={"Content-Range": content_range}, timeout=20, allow_redirects=False)


def workers_of(server: IncomingServer) -> list[int]:
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return [int(child) for child in children]


# --- the start --------------------------------------------------------------------------------------------------------


@pytest.mark.promise(6)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_first_start_creates_everything(workers: str, start_server: StartServer) -> None:
    server = start_server("--workers", workers, env={"INCOMING_BACKEND_TOKEN": ""})
    assert new_upload_settings(server)
    assert server.log.count("INCOMING_BACKEND_TOKEN is empty and ignored") == 1
    assert (server.storage_dir / "incoming.sqlite").is_file()
    assert server.storage_dir.stat().st_mode & 0o777 == 0o750
    assert f"Incoming!! {__version__} listens at http://127.0.0.1:{server.port} with {workers} worker" in server.log
    assert f"uploads and database are in {server.storage_dir}, durability 'process'" in server.log
    assert "backend functions may be called by 127.0.0.0/8, ::1/128; " in server.log
    assert server.stop() == 0


def test_the_descriptor_limit_is_raised_to_the_hard_limit(start_server: StartServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    try:
        server = start_server("--workers", "1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_port_0_takes_a_free_one(start_server: StartServer, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "incoming.py"), "--port", "0", "--address", "127.0.0.1", "--workers", "1"]
    with subprocess.Popen([*command, "--storage-dir", str(tmp_path / "s")], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            told = re.search(r"http://127\.0\.0\.1:(\d+)", process.stderr.readline().decode())
            assert told is not None
            health = requests.get(f"http://127.0.0.1:{told[1]}/incoming/health", timeout=20)
            assert health.json()["ready"] is True
        finally:
            process.terminate()
            process.communicate()
    assert process.returncode == 0


@pytest.mark.parametrize("how", [["incoming.py"], ["-m", "incoming"]])
def test_a_port_in_use_stops_the_start(how: list[str], server: IncomingServer, tmp_path: Path) -> None:
    options = ["--address", "127.0.0.1", "--port", str(server.port), "--storage-dir", str(tmp_path / "other")]
    result = subprocess.run([sys.executable, *how, *options], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr == f"incoming: cannot listen at 127.0.0.1 port {server.port}: Address already in use\n"


def test_a_storage_directory_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    options = ["--address", "127.0.0.1", "--port", "0", "--storage-dir", str(tmp_path / "file" / "storage")]
    result = subprocess.run(
        [sys.executable, str(ROOT / "incoming.py"), *options], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert result.stderr.startswith(f"incoming: storage_dir '{tmp_path}/file/storage' cannot be made: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_broken_database_stops_the_start(workers: str, tmp_path: Path) -> None:
    (tmp_path / "incoming.sqlite").write_bytes(b"not a database" * 1000)
    options = ["--address", "127.0.0.1", "--port", "0", "--storage-dir", str(tmp_path), "--workers", workers]
    result = subprocess.run(
        [sys.executable, str(ROOT / "incoming.py"), *options], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "the server cannot" in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "incoming.sqlite").read_bytes().startswith(b"not a database")


@pytest.fixture
def listening() -> Iterator[list[socket.socket]]:
    """Sockets at one address of the internet's kind and one of loopback."""
    sockets = [socket.create_server((address, 0)) for address in ("0.0.0.0", "127.0.0.1")]
    yield sockets
    for each in sockets:
        each.close()


@pytest.mark.parametrize(
    ("options", "words", "is_warned"),
    [
        ((), "may be called by 127.0.0.0/8, ::1/128; requests that came through a proxy may not", False),
        (("--backend-networks", ""), "may be called by nobody;", False),
        (("--backend-networks", "10.0.0.0/8,fd00::/8"), "may be called by 10.0.0.0/8, fd00::/8;", False),
        (("--backend-networks", "0.0.0.0/0"), "may be called by 0.0.0.0/0;", True),
        (("--backend-networks", "10.0.0.0/7"), "may be called by 10.0.0.0/7;", True),
        (("--backend-networks", "::/0"), "may be called by ::/0;", True),
        (("--backend-networks", "203.0.113.7"), "may be called by 203.0.113.7/32;", True),
        (
            ("--backend-networks", "0.0.0.0/0", "--backend-token", "x" * 16),
            "may be called by 0.0.0.0/0 with the Bearer token;",
            False,
        ),
        (("--trusted-proxies", "10.0.0.1"), "; X-Forwarded-For is believed from 10.0.0.1/32", False),
    ],
)
def test_the_start_logs_the_allowed_callers(
    options: tuple[str, ...], words: str, is_warned: bool, listening: list[socket.socket]
) -> None:
    settings = load_settings([*options, "--workers", "1"], {})
    everywhere, loopback = listening
    lines = list(announcements(settings, [everywhere]))
    assert words in lines[2][1]
    assert [level for level, line in lines if "open to the internet" in line] == (
        [logging.WARNING] if is_warned else []
    )
    assert all("open to the internet" not in line for _, line in announcements(settings, [loopback]))


def test_addresses_are_spelled_as_urls(listening: list[socket.socket]) -> None:
    assert url(listening[1]) == f"http://127.0.0.1:{listening[1].getsockname()[1]}"
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as six:
        assert url(six) == f"http://[::1]:{six.getsockname()[1]}"


# --- who may call, over real connections ------------------------------------------------------------------------------


def call_from(
    server: IncomingServer, host: str = "127.0.0.1", source: str | None = None, headers: dict[str, str] | None = None
) -> int:
    """The status of new_upload, called at `host` from the address `source`."""
    connection = http.client.HTTPConnection(
        host, server.port, timeout=20, source_address=(source, 0) if source else None
    )
    try:
        connection.request("POST", f"{NEW_UPLOAD}?signalFinishURL=http://a/", headers=headers or {})
        return connection.getresponse().status
    finally:
        connection.close()


def test_only_the_configured_networks_may_call(start_server: StartServer) -> None:
    server = start_server("--address", "0.0.0.0", "--backend-networks", "127.0.0.2,127.1.0.0/16", "--workers", "1")
    assert call_from(server, source="127.0.0.2") == 200
    assert call_from(server, source="127.1.2.3") == 200
    for source in ("127.0.0.1", "127.0.0.3", "127.2.0.1"):
        assert call_from(server, source=source) == 403
    refusal = (
        'client=127.2.0.1 function=new_upload error=forbidden reason="backend functions are not open to 127.2.0.1"'
    )
    wait_until(lambda: refusal in server.log, "the refusal in the log")


@pytest.mark.parametrize(
    ("networks", "host", "status"),
    [
        ("127.0.0.0/8", "127.0.0.1", 200),  # seen as ::ffff:127.0.0.1
        ("::ffff:127.0.0.0/104", "127.0.0.1", 200),
        ("::1", "::1", 200),
        ("::1", "127.0.0.1", 403),
        ("127.0.0.0/8", "::1", 403),
    ],
)
def test_ipv4_ipv6_and_mapped_addresses_are_compared(
    networks: str, host: str, status: int, start_server: StartServer
) -> None:
    server = start_server("--address", "::", "--backend-networks", networks, "--workers", "1")
    assert call_from(server, host) == status


@pytest.mark.promise(134)
def test_a_proxy_on_the_same_host_does_not_open_the_backend(start_server: StartServer) -> None:
    server = start_server("--address", "0.0.0.0", "--trusted-proxies", "127.0.0.2", "--workers", "1")
    assert call_from(server, source="127.0.0.2", headers={"X-Forwarded-For": "203.0.113.5"}) == 403
    assert call_from(server, source="127.0.0.2", headers={"X-Forwarded-For": "127.0.0.1, 203.0.113.5"}) == 403
    assert call_from(server, source="127.0.0.2", headers={"X-Forwarded-For": "203.0.113.5, 127.0.0.9"}) == 200
    assert call_from(server, source="127.0.0.2", headers={"X-Real-IP": "127.0.0.1"}) == 403
    # Whoever is no proxy of ours cannot speak for another, and is let in only in their own name.
    assert call_from(server, source="127.0.0.3", headers={"X-Forwarded-For": "127.0.0.1"}) == 403
    assert call_from(server, source="127.0.0.3") == 200
    # The page's URLs are for everybody.
    page = requests.get(
        f"{server.base_url}/incoming/frontend/incoming.js", headers={"X-Forwarded-For": "203.0.113.5"}, timeout=20
    )
    assert page.status_code == 200


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_shuts_down_the_server(number: signal.Signals, workers: str, start_server: StartServer) -> None:
    server = start_server("--workers", workers)
    new_upload_settings(server)
    os.killpg(server.pid, signal.SIGHUP)  # as the kernel does when a terminal is closed
    wait_until(lambda: "SIGHUP ignored" in server.log, "the line about SIGHUP")
    assert new_upload_settings(server)
    assert server.log.count("SIGHUP ignored") == 1
    os.kill(server.pid, number)
    assert server.wait() == 0
    assert server.log.count("draining: 0 uploads are connected") == int(workers)


def test_acknowledged_bytes_survive_a_restart(start_server: StartServer, app_stub: AppStub) -> None:
    server = start_server("--workers", "2")
    ticket_id = new_upload_settings(server, app_stub.url)
    assert put(server, ticket_id, b"first ", "bytes 0-5/12").status_code == 308
    server.restart()
    answer = put(server, ticket_id, b"", "bytes */12")
    assert (answer.status_code, answer.headers["Range"]) == (308, "bytes=0-5")
    assert put(server, ticket_id, b"second", "bytes 6-11/12").status_code == 200
    wait_until(lambda: state(server, ticket_id) == "finished", "the app's done")


def test_a_request_in_progress_is_answered(start_server: StartServer) -> None:
    """Somebody who waits for news by HTTP is told before the server goes."""
    server = start_server("--workers", "1")
    ticket_id = new_upload_settings(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        path = f"/incoming/frontend/upload/{ticket_id}?wait=25&state=new"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        new_upload_settings(server)  # came later and has been answered: so the first one has been read
        assert server.stop() == 0
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b'"state": "new"' in received
    assert "drain_timeout exceeded" not in server.log


@pytest.mark.parametrize("workers", ["1", "2"])
def test_browsers_are_asked_to_reconnect(workers: str, start_server: StartServer) -> None:
    server = start_server("--workers", workers)
    ticket_id = new_upload_settings(server)

    async def connected() -> tuple[dict[str, object], int | None]:
        address = f"ws://{server.host}/incoming/0.1/frontend/upload_ws?ticket={ticket_id}"
        browser = await websocket_connect(address, subprotocols=["incoming.1"])
        hello = {"type": "hello", "session": "12345678", "name": "a", "size": 10}
        await browser.write_message(json.dumps(hello))
        assert json.loads(str(await browser.read_message()))["type"] == "welcome"
        os.kill(server.pid, signal.SIGTERM)
        last = json.loads(str(await browser.read_message()))
        assert await browser.read_message() is None
        browser.close()
        return last, browser.close_code

    last, close_code = asyncio.run(connected())
    assert (last["type"], last["name"], last["retry"]) == ("error", "server_shutdown", True)
    assert close_code == 4500
    assert server.wait() == 0
    assert "drain_timeout exceeded" not in server.log


def test_a_callback_in_progress_may_finish(server: IncomingServer, app_stub: AppStub) -> None:
    app_stub.hold()
    ticket_id = new_upload_settings(server, app_stub.url)
    assert put(server, ticket_id, b"all", "bytes 0-2/3").status_code == 200
    app_stub.wait_for(1, ticket_id)
    os.kill(server.pid, signal.SIGTERM)
    wait_until(lambda: "draining: " in server.log, "the end to begin")
    app_stub.release()
    assert server.wait() == 0
    server.start()
    assert state(server, ticket_id) == "finished"
    assert len(app_stub.callbacks) == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_signal_exits_at_once(workers: str, start_server: StartServer, app_stub: AppStub) -> None:
    app_stub.hold()
    server = start_server("--workers", workers)
    ticket_id = new_upload_settings(server, app_stub.url)
    assert put(server, ticket_id, b"all", "bytes 0-2/3").status_code == 200
    app_stub.wait_for(1, ticket_id)

    def ended() -> bool:
        if server.is_running():
            os.kill(server.pid, signal.SIGTERM)
        return not server.is_running()

    wait_until(ended, "the server to end before its callback")
    assert server.wait() == 0
    assert "drain_timeout exceeded with pending work" in server.log
    app_stub.release()


def test_an_open_connection_ends_with_its_next_answer(start_server: StartServer, app_stub: AppStub) -> None:
    app_stub.hold()
    server = start_server("--workers", "1")
    ticket_id = new_upload_settings(server, app_stub.url)
    ask = f"GET /incoming/frontend/upload/{ticket_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(ask)
        assert b"Connection: close" not in connection.recv(65536)
        assert put(server, ticket_id, b"all", "bytes 0-2/3").status_code == 200
        app_stub.wait_for(1, ticket_id)
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: "draining: " in server.log, "the end to begin")
        connection.sendall(ask)
        assert b"Connection: close" in b"".join(iter(lambda: connection.recv(65536), b""))
    app_stub.release()
    assert server.wait() == 0


def test_the_shutdown_does_not_wait_for_an_endless_client(start_server: StartServer) -> None:
    server = start_server("--workers", "1", "--drain-timeout", "0.2")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"POST /incoming/backend/new_upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        new_upload_settings(server)
        assert server.stop() == 0
    assert "drain_timeout exceeded with pending work" in server.log


# --- several applications ---------------------------------------------------------------------------------------------


@pytest.mark.promise(7, 40, 45)
def test_applications_share_a_server_and_nothing_else(start_server: StartServer) -> None:
    server = start_server("--workers", "2")

    def call(function: str, **given: str) -> requests.Response:
        return requests.post(f"{server.base_url}/incoming/0.1/backend/{function}", data=given, timeout=20)

    with AppStub(default="wait") as one, AppStub(default="wait") as other:
        apps = {one: "secret of one", other: "secret of the other"}
        tickets = {
            app: [call("new_upload", signalFinishURL=app.url, backendSecret=secret).text for _ in range(3)]
            for app, secret in apps.items()
        }
        for number in range(3):
            for app in apps:
                content = f"{app.port} {number}".encode()
                answer = put(server, tickets[app][number], content, f"bytes 0-{len(content) - 1}/{len(content)}")
                assert answer.status_code == 200
        for app, secret in apps.items():
            wait_until(lambda app=app: len(app.callbacks) == 3, "the application to be told of its files")
            for told in app.callbacks:
                number = tickets[app].index(told.params["id"])
                assert told.params["backendSecret"] == secret
                assert Path(told.params["filename"]).read_bytes() == f"{app.port} {number}".encode()
        for app, theirs in ((one, apps[other]), (other, apps[one])):
            for ticket in tickets[app]:
                wait_until(lambda ticket=ticket: state(server, ticket) == "waiting", "the application's wait")
                assert call("finish_upload", id=ticket, backendSecret=theirs).status_code == 403
                assert state(server, ticket) == "waiting"
                assert call("finish_upload", id=ticket, backendSecret=apps[app]).text == "ok"


# --- several workers --------------------------------------------------------------------------------------------------


@pytest.mark.promise(7)
def test_a_worker_that_dies_is_replaced_and_loses_nothing(start_server: StartServer, app_stub: AppStub) -> None:
    server = start_server("--workers", "2")
    wait_until(lambda: len(workers_of(server)) == 2, "two workers")
    ticket_id = new_upload_settings(server, app_stub.url)
    for offset in range(3):
        assert put(server, ticket_id, b"x", f"bytes {offset}-{offset}/4").status_code == 308
        before = workers_of(server)
        os.kill(before[offset % 2], signal.SIGKILL)
        wait_until(
            lambda before=before: len(workers_of(server)) == 2 and workers_of(server) != before,
            "another worker in the place of the killed one",
        )
    assert put(server, ticket_id, b"x", "bytes 3-3/4").status_code == 200
    wait_until(lambda: state(server, ticket_id) == "finished", "the app's done")
    assert server.log.count("a worker exited with code 137") == 3
    assert server.stop() == 0


def test_workers_end_when_the_supervisor_is_killed(start_server: StartServer) -> None:
    server = start_server("--workers", "2")
    workers = wait_until(lambda: workers_of(server) if len(workers_of(server)) == 2 else [], "two workers")
    wait_until(lambda: new_upload_settings(server), "an answer")
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "the workers to end")
    assert server.log.count("the supervisor has exited") == 2


def test_the_log_can_be_json(start_server: StartServer) -> None:
    server = start_server("--workers", "2", "--log-format", "json")
    ticket_id = new_upload_settings(server)
    assert server.stop() == 0
    entries = [json.loads(line) for line in server.log.splitlines()]
    [entry] = [entry for entry in entries if entry.get("function") == "new_upload"]
    assert entry["message"] == "POST /incoming/0.1/backend/new_upload 200"
    assert entry["upload"] == ticket_id[:8] + "…"
    assert entry["client"] == "127.0.0.1"
    assert entry["level"] == "info"
