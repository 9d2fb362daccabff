"""Two instances with one PostgreSQL database and one directory: what one begins the other continues."""

import asyncio
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.support.incoming_server import IncomingServer
from tests.support.raw_websocket import RawWebSocket, chunk
from tests.support.tools import ROOT
from tests.support.waiting import wait_until
from tests.system.cluster.instances import OPTIONS, Cluster


def test_both_say_that_they_are_ready(cluster: Cluster) -> None:
    for instance in cluster.instances:
        assert requests.get(f"{instance.base_url}/incoming/health", timeout=20).json()["ready"] is True
        assert "tickets are in the PostgreSQL database" in instance.log
    assert not (cluster.storage_dir / "incoming.sqlite").exists()


def test_one_upload_over_both_is_handed_over_once(cluster: Cluster) -> None:
    content = os.urandom(100_000)
    ticket = cluster.new_upload(cluster.one)
    assert cluster.put(cluster.one, ticket, content[:40_000], 0, 100_000).status_code == 308
    assert cluster.put(cluster.other, ticket, content[60_000:], 60_000, 100_000).status_code == 308
    assert cluster.status(cluster.one, ticket)["extents"] == [[0, 40_000], [60_000, 100_000]]
    assert cluster.put(cluster.one, ticket, content[40_000:60_000], 40_000, 100_000).status_code == 200
    cluster.reaches(cluster.other, ticket, "finished")
    assert cluster.received(ticket) == [content]


def test_many_uploads_are_each_called_for_once(cluster: Cluster) -> None:
    def upload(number: int) -> str:
        first, second = cluster.instances if number % 2 else cluster.instances[::-1]
        ticket = cluster.new_upload(first)
        content = f"{number:05}".encode() * 1000
        assert cluster.put(first, ticket, content[:2500], 0, 5000).status_code == 308
        assert cluster.put(second, ticket, content[2500:], 2500, 5000).status_code == 200
        return ticket

    with ThreadPoolExecutor(8) as pool:
        tickets = list(pool.map(upload, range(40)))
    for number, ticket in enumerate(tickets):
        cluster.reaches(cluster.one, ticket, "finished")
        assert cluster.received(ticket) == [f"{number:05}".encode() * 1000]


def test_a_cancellation_at_one_is_told_by_the_other(cluster: Cluster) -> None:
    ticket = cluster.new_upload(cluster.one)

    async def page() -> str:
        socket = await RawWebSocket.welcomed(cluster.one.port, ticket, 1000)
        await socket.send(chunk(0, b"x" * 100))
        await socket.until_acked((0, 100))
        cancelling = asyncio.to_thread(cluster.backend, cluster.other, "cancel_upload", id=ticket)
        _, state = await asyncio.gather(cancelling, socket.hear("state"))
        socket.close()
        return str(state["state"])

    assert asyncio.run(page()) == "cancelled"


def test_a_session_goes_on_at_the_other_when_one_is_killed(cluster: Cluster) -> None:
    ticket = cluster.new_upload(cluster.one)
    content = os.urandom(3000)

    async def send(instance: IncomingServer, start: int, end: int, **more: Any) -> None:
        socket = await RawWebSocket.welcomed(instance.port, ticket, 3000, **more)
        await socket.send(chunk(start, content[start:end]))
        await socket.until_acked((start, end))
        if instance is cluster.one:
            instance.kill()
        socket.close()

    asyncio.run(send(cluster.one, 0, 2000))
    assert cluster.status(cluster.other, ticket)["extents"] == [[0, 2000]]
    asyncio.run(send(cluster.other, 2000, 3000, epoch=1))
    cluster.reaches(cluster.other, ticket, "finished")
    assert cluster.received(ticket) == [content]
    cluster.one.start()
    assert cluster.status(cluster.one, ticket)["state"] == "finished"


def put_again(cluster: Cluster, instance: IncomingServer, ticket: str, start: int) -> requests.Response:
    """Send a part as clients do, which repeat it after a 503: one instance cannot know whether a row that the other one
    has changed since the restart had lost what was committed before, so it has the senders ask what has arrived.
    """
    while (answer := cluster.put(instance, ticket, b"a" * 500, start, 1500)).status_code == 503:
        assert answer.headers["Retry-After"]
    return answer


def test_a_restart_of_the_database_is_only_a_delay(cluster: Cluster) -> None:
    ticket = cluster.new_upload(cluster.one)
    assert cluster.put(cluster.one, ticket, b"a" * 500, 0, 1500).status_code == 308
    with ThreadPoolExecutor(2) as pool:
        cluster.postgres.stop(immediately=True)
        sending = [
            pool.submit(put_again, cluster, instance, ticket, 500 * number)
            for number, instance in enumerate(cluster.instances, 1)
        ]
        cluster.postgres.start()
        assert sorted(answer.result(60).status_code for answer in sending) == [200, 308]
    cluster.reaches(cluster.other, ticket, "finished")
    assert cluster.received(ticket) == [b"a" * 1500]

    def restarts() -> float:
        metrics = requests.get(f"{cluster.one.base_url}/incoming/metrics", timeout=20).text
        [count] = re.findall(r'^incoming_database_events_total\{event="failover"\} (\S+)$', metrics, re.MULTILINE)
        return float(count)

    wait_until(lambda: restarts() >= 2, "both to count the restart")


def test_operators_see_both(cluster: Cluster) -> None:
    def workers() -> int:
        metrics = requests.get(f"{cluster.other.base_url}/incoming/metrics", timeout=20).text
        [line] = [line for line in metrics.splitlines() if line.startswith("incoming_workers ")]
        return int(float(line.split()[1]))

    wait_until(lambda: workers() >= 2, "the reports of both")  # and for a while of one that was killed
    shown_now = requests.get(f"{cluster.one.base_url}/incoming/status/now", timeout=20).json()
    assert set(shown_now["instances"]) == {"one", "other"}
    metrics = requests.get(f"{cluster.one.base_url}/incoming/metrics", timeout=20).text
    assert set(re.findall(r'incoming_instance_workers{instance="(\w+)"}', metrics)) == {"one", "other"}
    ticket = cluster.new_upload(cluster.one)
    assert cluster.put(cluster.one, ticket, b"x" * 10, 0, 100).status_code == 308
    command = [sys.executable, str(ROOT / "incoming.py"), "uploads", "--storage-dir", str(cluster.storage_dir)]
    env = {**os.environ, **cluster.env, "INCOMING_DURABILITY": "power"}
    shown = subprocess.run([*command, "show", ticket, "--json"], env=env, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["arrived"] == 10
    subprocess.run([*command, "cancel", ticket], env=env, capture_output=True, check=True)
    cluster.reaches(cluster.other, ticket, "cancelled")


def test_a_restart_examines_only_uploads_that_the_instance_wrote_to(cluster: Cluster) -> None:
    mine, theirs = cluster.new_upload(cluster.one), cluster.new_upload(cluster.one)
    assert cluster.put(cluster.one, mine, b"x" * 10, 0, 100).status_code == 308
    assert cluster.put(cluster.other, theirs, b"x" * 10, 0, 100).status_code == 308
    for ticket in (mine, theirs):
        with (cluster.storage_dir / ticket[:2] / f"{ticket}.part").open("r+b") as file:
            file.truncate(5)
    cluster.one.restart(kill=True)
    assert cluster.status(cluster.other, mine)["extents"] == [[0, 5]]
    assert cluster.status(cluster.other, theirs)["extents"] == [[0, 10]]
    for ticket in (mine, theirs):
        cluster.backend(cluster.one, "cancel_upload", id=ticket)


# --- bad input --------------------------------------------------------------------------------------------------------


def refusal(cluster: Cluster, *options: str) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "incoming.py"), "--port", "0", "--storage-dir", str(cluster.storage_dir)]
    result = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)
    return result.returncode, result.stderr


def test_what_is_not_synced_is_no_database_for_several(cluster: Cluster) -> None:
    code, said = refusal(cluster, "--database", cluster.postgres.dsn())
    assert code == 2
    assert "durability must be 'power'" in said
    assert said.count("\n") == 1


def test_no_database_of_this_name_ends_the_start(cluster: Cluster) -> None:
    dsn = f"postgresql://incoming:hidden@127.0.0.1:{cluster.postgres.port}/nowhere"
    code, said = refusal(cluster, *OPTIONS, "--database", dsn)
    assert code == 2
    assert "create the database, or name another one" in said
    assert "hidden" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("url", ["mysql://db/uploads", "postgresql://db", "uploads"])
def test_what_is_no_url_of_a_database_is_refused(cluster: Cluster, url: str) -> None:
    code, said = refusal(cluster, *OPTIONS, "--database", url)
    assert code == 2
    assert "postgresql://USER:PASSWORD@HOST:PORT/DATABASE" in said
