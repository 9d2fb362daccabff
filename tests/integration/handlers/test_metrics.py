"""`/incoming/metrics` of a whole server: right with several workers, whoever of them answers and whoever has died."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.app_stub import AppStub
from tests.support.incoming_server import IncomingServer
from tests.support.one_worker import one_worker
from tests.support.tools import ROOT
from tests.support.waiting import wait_until


def values(page: str) -> dict[str, float]:
    """The samples by name and labels as they are written."""
    pairs = [line.rsplit(" ", 1) for line in page.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


def scrape(server: IncomingServer) -> dict[str, float]:
    with urllib.request.urlopen(f"{server.base_url}/incoming/metrics", timeout=20) as answer:
        return values(answer.read().decode())


def put(server: IncomingServer, ticket: str, content: bytes) -> None:
    url = f"{server.base_url}/incoming/frontend/upload/{ticket}?filename=a"
    headers = {"Content-Type": "application/octet-stream"}
    with urllib.request.urlopen(urllib.request.Request(url, content, headers, method="PUT"), timeout=20) as answer:
        assert answer.status == 200


def new_ticket(server: IncomingServer, app: AppStub) -> str:
    body = f"signalFinishURL={app.url}".encode()
    with urllib.request.urlopen(f"{server.base_url}/incoming/backend/new_upload", body, timeout=20) as answer:
        return str(answer.read().decode())


def workers(server: IncomingServer) -> list[int]:
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


async def test_one_worker_reports_its_counters(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        await worker.upload(await worker.ticket(), b"x" * 1000)
        await worker.ticket()
        await worker.fetch("PUT", "/incoming/frontend/upload/nobody", b"x")
        response = await worker.fetch("GET", "/incoming/metrics")
        assert response.code == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        found = values(response.body.decode())
        assert found['incoming_received_bytes_total{transport="http"}'] == 1000
        assert found['incoming_chunk_seconds_count{transport="http"}'] >= 1
        assert found['incoming_uploads{state="new"}'] == 1
        assert found['incoming_uploads{state="arrived"}'] == 1
        assert found['incoming_upload_transitions_total{state="new"}'] == 2
        assert found['incoming_errors_total{error="unknown_ticket"}'] == 1
        assert found['incoming_errors_total{error="storage_full"}'] == 0
        assert found["incoming_workers"] == 1
        assert found["incoming_free_bytes"] > 0
        assert found["incoming_resident_memory_bytes"] > 1_000_000


async def test_openmetrics_is_served_on_request(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        response = await worker.fetch("GET", "/incoming/metrics", headers={"Accept": "application/openmetrics-text"})
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        assert response.body.endswith(b"# EOF\n")


def test_several_workers_report_as_one_server(start_server: StartServer, app_stub: AppStub) -> None:
    server = start_server("--workers", "3")
    for count in range(1, 13):
        put(server, new_ticket(server, app_stub), b"x" * 1000)
        app_stub.wait_for(count)

    def counted() -> bool:
        # Who counted something tells it within seconds, whoever is asked.
        found = scrape(server)
        return (
            found['incoming_received_bytes_total{transport="http"}'] == 12_000
            and found['incoming_callbacks_total{answer="done"}'] == 12
            and found["incoming_callback_seconds_count"] == 12
            and found['incoming_uploads{state="finished"}'] == 12
        )

    wait_until(counted, "the sum of all workers")
    wait_until(lambda: scrape(server)["incoming_workers"] == 3, "three workers")


def test_no_counter_goes_back_when_workers_die_or_the_server_restarts(
    start_server: StartServer, app_stub: AppStub
) -> None:
    server = start_server("--workers", "2")
    put(server, new_ticket(server, app_stub), b"x" * 5000)
    name = 'incoming_received_bytes_total{transport="http"}'
    wait_until(lambda: scrape(server)[name] == 5000, "the bytes")
    for pid in workers(server):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(workers(server)) == 2, "new workers")
    assert scrape(server)[name] == 5000
    put(server, new_ticket(server, app_stub), b"x" * 7)
    server.restart()
    assert scrape(server)[name] == 5007


def test_connections_are_counted_while_they_last(start_server: StartServer, app_stub: AppStub) -> None:
    server = start_server("--workers", "1")
    name = 'incoming_connections{transport="http"}'
    assert scrape(server)[name] == 0
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        target = f"/incoming/frontend/upload/{new_ticket(server, app_stub)}"
        connection.sendall(f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345".encode())
        wait_until(lambda: scrape(server)[name] == 1, "the connection")
    wait_until(lambda: scrape(server)[name] == 0, "its end")


async def test_metrics_are_not_for_the_world(tmp_path: Path) -> None:
    async with one_worker(tmp_path, "--backend-networks", "10.0.0.0/8") as worker:
        response = await worker.fetch("GET", "/incoming/metrics")
        assert response.code == 403
        assert b"incoming_" not in response.body
    async with one_worker(tmp_path) as worker:
        forged = {"X-Forwarded-For": "127.0.0.1"}
        assert (await worker.fetch("GET", "/incoming/metrics", headers=forged)).code == 403
        assert (await worker.fetch("POST", "/incoming/metrics", b"")).code == 405


async def test_without_the_library_the_answer_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incoming.handlers.operator.metrics.exposition", None)
    async with one_worker(tmp_path) as worker:
        response = await worker.fetch("GET", "/incoming/metrics")
        assert response.code == 501
        assert (
            response.body.decode()
            == "metrics need the Python package prometheus-client: pip install 'incoming[metrics]'"
        )


def test_the_server_does_not_need_the_library() -> None:
    program = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import incoming.cli.main, incoming.handlers.operator.metrics as m, json; print(json.dumps(m.exposition))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is None


def test_the_extra_is_the_one_that_is_named() -> None:
    extras = re.findall(r'^metrics = \["(.*)"\]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert [extra.startswith("prometheus-client") for extra in extras] == [True]
