"""`kill -9` at any moment, of a worker or of all: no acknowledged byte is lost, every upload resumes by itself."""

import os
import random
import signal
from pathlib import Path

import pytest
import requests

from incoming.core.ticket import State
from tests.conftest import StartServer
from tests.support.incoming_server import IncomingServer
from tests.support.tools import ROOT
from tests.support.waiting import wait_until
from tests.system.faults.conftest import LEASE, StartLoad
from tests.system.faults.consistency import Witness, assert_consistent, tickets_in
from tests.system.faults.load import KIB, MIB, Load, new_ticket
from tests.system.faults.processes import children_of
from tests.system.faults.shifted_clock import ShiftedClock

UPLOADS_AT_ONCE = 6
EXITED = "a worker exited with code 137"

SOON = ("--handover-timeout", "2")
"""A callback that a killed worker had begun is tried again only when it could not be under way any more."""


def kill_a_worker(server: IncomingServer, load: Load, chance: random.Random) -> None:
    """Kill a worker without waiting for its successor; the other one serves meanwhile."""
    known = server.log.count(EXITED)
    os.kill(chance.choice(wait_until(lambda: children_of(server.pid), "a worker", 60)), signal.SIGKILL)
    wait_until(lambda: server.log.count(EXITED) > known, "the supervisor to notice, which may be killed next")


def kill_all(server: IncomingServer, load: Load, clock: ShiftedClock) -> None:
    server.kill()
    load.check(server.storage_dir)
    clock.advance(LEASE)
    server.restart(kill=True)


def kill_rounds(count: int, server: IncomingServer, load: Load, clock: ShiftedClock, seed: int) -> int:
    """Kill servers during uploads, in the end all; return how many kills hit chunks in flight."""
    chance = random.Random(seed)
    hits = 0
    for number in range(count):
        for _ in range(UPLOADS_AT_ONCE - load.running):
            size = chance.choice((100 * KIB, MIB, 2 * MIB))
            load.add(size, rate=3 * MIB, chunk=chance.choice((16 * KIB, 96 * KIB)), keep=chance.random() < 0.5)
        load.wait_for_bytes(chance.randint(0, MIB))
        hits += load.wait_for_flight()
        if number % 2 == count % 2:
            kill_a_worker(server, load, chance)
        else:
            kill_all(server, load, clock)
    load.finish(server.storage_dir)
    return hits


@pytest.mark.parametrize("durability", ["process", "power"])
def test_kill_rounds(durability: str, start_server: StartServer, start_load: StartLoad, clock: ShiftedClock) -> None:
    server = start_server("--workers", "2", "--durability", durability, *SOON, env=clock.env)
    load = start_load(server.port)
    count = 6 if durability == "process" else 4
    hits = kill_rounds(count, server, load, clock, seed=1)
    assert hits >= count // 2, "too few kills hit uploads in flight"
    assert sum(client.cuts_in_flight for client in load.clients) >= count // 2
    assert server.log.count(EXITED) == count // 2


def test_the_supervisor_is_killed(start_server: StartServer, start_load: StartLoad, clock: ShiftedClock) -> None:
    """Its workers drain, because they could not be replaced; the next server has everything."""
    server = start_server("--workers", "2", *SOON, env=clock.env)
    load = start_load(server.port)
    clients = load.add_each(UPLOADS_AT_ONCE, 2 * MIB, rate=MIB)
    wait_until(lambda: all(client.acked.size for client in clients), "all to be sending")
    workers = children_of(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "the workers to end", 60)
    assert server.log.count("the supervisor has exited") == len(workers) == 2
    assert load.running == len(clients), "none was through"
    load.check(server.storage_dir)
    clock.advance(LEASE)
    server.restart(kill=True)
    load.finish(server.storage_dir)
    assert all(client.reconnects for client in clients)


def test_a_store_that_buffers_is_killed(start_server: StartServer, start_load: StartLoad, clock: ShiftedClock) -> None:
    """Bytes that are not durable are not acknowledged, and are sent again by every kind of client."""
    parts = {"PART_SIZE": str(256 * KIB), "PYTHONPATH": str(ROOT)}
    server = start_server(*SOON, env={**clock.env, **parts}, program=("-m", "tests.support.part_store"))
    load = start_load(server.port)
    clients = load.add_each(UPLOADS_AT_ONCE, 2 * MIB, rate=2 * MIB, chunk=96 * KIB)
    load.wait_for_bytes(MIB)
    assert load.wait_for_flight()
    kill_all(server, load, clock)
    load.finish(server.storage_dir)
    assert all(client.reconnects for client in clients)


def test_a_cancellation_survives_a_kill(start_server: StartServer, witness: Witness, clock: ShiftedClock) -> None:
    """The user was notified of the cancellation, the application was down: the next server calls it."""
    witness.stop()
    server = start_server("--workers", "1", *SOON, env=clock.env)
    tickets = [new_ticket(server.port, witness.url) for _ in range(3)]
    for ticket_id in tickets:
        url = f"{server.base_url}/incoming/0.1/frontend/upload/{ticket_id}"
        piece = {"Content-Range": f"bytes 0-{KIB - 1}/{MIB}"}
        assert requests.put(url, bytes(KIB), headers=piece, timeout=20).status_code == 308
        assert requests.post(url, json={"type": "cancel", "reason": "enough"}, timeout=20).status_code == 200
    server.kill()
    left = tickets_in(server.storage_dir)
    assert all(left[ticket_id].state == State.CANCELLED and left[ticket_id].callback for ticket_id in tickets)
    witness.start()
    clock.advance(LEASE)
    server.restart(kill=True)
    for ticket_id in tickets:
        (callback,) = witness.wait_for(1, ticket_id)
        assert (callback.params["cancelled"], callback.params["cancelReason"]) == ("yes", "enough")
    assert_consistent(server.storage_dir, {}, witness.snapshot(), dict.fromkeys(tickets, b""))


@pytest.mark.soak
def test_a_hundred_kill_rounds(start_server: StartServer, start_load: StartLoad, clock: ShiftedClock) -> None:
    server = start_server("--workers", "2", *SOON, env=clock.env)
    load = start_load(server.port)
    assert kill_rounds(100, server, load, clock, seed=random.randrange(1 << 30)) >= 50
    cuts = sum(client.cuts_in_flight for client in load.clients)
    assert cuts >= 50
    print(f"100 kills, {len(load.clients)} uploads, {cuts} connections cut with chunks in flight")  # noqa: T201
