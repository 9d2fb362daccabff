"""SIGTERM: no new work, stored bytes are kept, clients reconnect by themselves; restarts lose nothing."""

import os
import signal
import time

import pytest
import requests

from tests.conftest import StartServer
from tests.support.upload_client import WEBSOCKET
from tests.support.waiting import wait_until
from tests.system.faults.conftest import StartLoad
from tests.system.faults.consistency import Witness, tickets_in
from tests.system.faults.load import MIB

DRAIN_TIMEOUT = 10.0
SOON = ("--handover-timeout", "2", "--drain-timeout", str(DRAIN_TIMEOUT))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_checkpoints_and_exits_within_the_drain_timeout(
    workers: str, start_server: StartServer, start_load: StartLoad
) -> None:
    server = start_server("--workers", workers, *SOON, "--checkpoint-seconds", "3600")
    load = start_load(server.port)
    clients = load.add_each(6, 3 * MIB, rate=MIB)
    wait_until(lambda: all(client.acked.size > 100_000 for client in clients), "all to be sending")
    started = time.monotonic()
    assert server.stop(DRAIN_TIMEOUT + 20) == 0
    assert time.monotonic() - started < DRAIN_TIMEOUT + 5
    load.check(server.storage_dir)
    for ticket in tickets_in(server.storage_dir).values():
        assert ticket.extents.size, "the stop came before anything was sent"
        assert ticket.synced == ticket.extents, "what has arrived was not synced"
    # Over HTTP the piece under way is taken, and the next connection finds nobody; who is connected must be told.
    connected = [client for client in clients if client.way == WEBSOCKET]
    assert connected
    assert all(client.errors[500] for client in connected), "clients were not told to come back"
    server.restart(kill=True)
    load.finish(server.storage_dir)
    assert all(client.reconnects for client in clients)


def test_a_draining_server_refuses_tickets_with_retry_after(
    start_server: StartServer, witness: Witness, start_load: StartLoad
) -> None:
    """While a callback is in progress the server answers, and issues no ticket."""
    server = start_server("--workers", "1", "--drain-timeout", "60")
    witness.hold()
    start_load(server.port).add(1000)
    witness.wait_for(1)
    url = f"{server.base_url}/incoming/0.1/backend/new_upload"
    with requests.Session() as kept:  # the listening socket goes first; a connection that is there stays
        assert kept.post(url, {"signalFinishURL": witness.url}, timeout=20).status_code == 200
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: "draining: " in server.log, "the end to begin")
        answer = kept.post(url, {"signalFinishURL": witness.url}, timeout=20)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    witness.release()
    assert server.wait(40) == 0


def test_rolling_restarts_under_load(start_server: StartServer, start_load: StartLoad) -> None:
    """Two generations on one directory: the new one starts and serves while the old one drains."""
    first = start_server("--workers", "2", *SOON)
    load = start_load(first.port)
    old, generations = first, 3
    for generation in range(generations):
        load.port = old.port
        load.add_each(4, 4 * MIB, rate=MIB)
        load.wait_for_bytes(2 * MIB)
        assert load.wait_for_flight(), "no restart without uploads under way"
        new = start_server("--workers", "2", *SOON, storage_dir=first.storage_dir)
        for client in load.clients:
            client.port = new.port  # what a proxy in front does: new connections go to the new generation
        if generation % 2:
            old.kill()
        else:
            assert old.stop(30) == 0
        old = new
    load.finish(first.storage_dir)
    assert sum(client.reconnects for client in load.clients) >= generations
