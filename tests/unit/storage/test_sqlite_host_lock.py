"""One host at a time has a SQLite database: who may take it, when, and who notices."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from incoming.core.errors import StorageFailed
from incoming.storage.sqlite.host_lock import HEARTBEAT, STALE_AFTER, Host, HostLock
from incoming.storage.sqlite.store import SqliteStore
from tests.support.stores import Clock
from tests.unit.storage.tickets import new

HERE = Host("here", "boot-1", "machine-1")
THERE = Host("there", "boot-9", "machine-9")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "incoming.sqlite"


class Machine:
    """Makes the locks of processes on any host. `sleeping` is what happens while one waits."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.clock = Clock(1000.0)
        self.slept = 0.0
        self.sleeping: Callable[[], None] = lambda: None

    def lock(self, host: Host = HERE) -> HostLock:
        return HostLock(self.database, host, self.clock, self._sleep)

    def held(self, host: Host = HERE) -> HostLock:
        lock = self.lock(host)
        lock.acquire()
        return lock

    def silent_for(self, seconds: float) -> None:
        """Set the last heartbeat back."""
        path = self.lock().path
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.silent_for(seconds)
        self.sleeping()


@pytest.fixture
def machine(database: Path) -> Machine:
    return Machine(database)


def test_another_host_is_refused_with_one_clear_line(machine: Machine) -> None:
    machine.held()
    for attempt in (machine.lock(THERE).acquire, machine.lock(THERE).check):
        with pytest.raises(StorageFailed) as refusal:
            attempt()
        assert "in use by host 'here', last active 0 s ago" in refusal.value.message
        assert "stop the server there, or wait until 60 s after it is gone" in refusal.value.message
        assert "\n" not in refusal.value.message
    machine.lock().check()


def test_all_processes_of_a_host_share_it_and_the_last_one_removes_it(machine: Machine) -> None:
    old, new_generation = machine.held(), machine.held()
    old.release()
    with pytest.raises(StorageFailed):
        machine.lock(THERE).acquire()
    new_generation.release()
    assert list(machine.database.parent.iterdir()) == []
    machine.held(THERE)


def test_a_restart_after_kill_needs_no_wait(machine: Machine) -> None:
    machine.held()  # and is never released
    machine.held()
    assert machine.slept == 0


def test_a_reboot_of_the_same_machine_needs_no_wait(machine: Machine) -> None:
    machine.held()
    machine.held(Host("here", "boot-2", "machine-1"))
    assert machine.slept < STALE_AFTER / 10


def test_a_host_of_the_same_name_waits_until_the_other_is_gone(machine: Machine) -> None:
    machine.held(Host("same", "boot-1"))
    machine.held(Host("same", "boot-2"))
    assert machine.slept >= STALE_AFTER - 1


def test_a_host_of_the_same_name_that_is_alive_is_noticed(machine: Machine) -> None:
    alive = machine.held(Host("same", "boot-1"))

    def beat() -> None:
        machine.clock.advance(HEARTBEAT)
        alive.keep()

    machine.sleeping = beat
    with pytest.raises(StorageFailed, match="in use by host 'same'"):
        machine.lock(Host("same", "boot-2")).acquire()


def test_a_stale_lock_is_taken_over_and_the_one_that_had_it_writes_nothing_more(machine: Machine) -> None:
    frozen = machine.held()
    machine.silent_for(STALE_AFTER + 1)
    machine.held(THERE)
    machine.clock.advance(STALE_AFTER + 1)
    with pytest.raises(StorageFailed, match="host 'there' has taken over the ticket database"):
        frozen.keep()
    frozen.release()
    machine.lock(THERE).check()


def test_heartbeats_keep_it(machine: Machine) -> None:
    lock = machine.held()
    for _ in range(10):
        machine.silent_for(HEARTBEAT)
        machine.clock.advance(HEARTBEAT)
        lock.keep()
    with pytest.raises(StorageFailed):
        machine.lock(THERE).acquire()


def test_an_operator_may_remove_it(machine: Machine) -> None:
    lock = machine.held()
    assert machine.lock(THERE).remove() == HERE
    assert machine.lock(THERE).remove() is None
    machine.held(THERE)
    machine.clock.advance(HEARTBEAT)
    with pytest.raises(StorageFailed):
        lock.keep()


def test_a_damaged_lock_is_that_of_an_unknown_host(machine: Machine) -> None:
    machine.lock().path.write_text("{")
    with pytest.raises(StorageFailed, match="'unknown'"):
        machine.lock().acquire()
    machine.silent_for(STALE_AFTER)
    machine.held()


def test_a_system_without_boot_ids_has_no_lock(machine: Machine) -> None:
    machine.held(Host("here", ""))
    machine.lock(Host("here", "")).keep()
    assert list(machine.database.parent.iterdir()) == []


async def test_the_store_commits_nothing_once_another_host_has_it(machine: Machine, database: Path) -> None:
    store = SqliteStore(database, lock=machine.lock())
    await store.create(new())
    machine.lock().remove()
    machine.held(THERE)
    machine.clock.advance(STALE_AFTER)
    with pytest.raises(StorageFailed, match="has taken over"):
        await store.create(lost := new())
    assert await store.get(lost.id) is None
    await store.close()


async def test_a_store_that_cannot_be_opened_leaves_no_lock(machine: Machine, database: Path) -> None:
    database.write_bytes(b"no database" * 100)
    with pytest.raises(StorageFailed):
        SqliteStore(database, lock=machine.lock())
    assert not machine.lock().path.exists()
