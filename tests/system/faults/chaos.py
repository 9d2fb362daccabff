"""The faults of a chaos run: processes, system calls, descriptors, clocks, lines, applications and takeovers.

Each method injects one, waits until it was hit or had its chance, ends it, and counts whether it was hit. What an
operator does in the storage directory goes on beside them (operator_faults.py).
"""

import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tests.support.fault_proxy import FaultProxy
from tests.system.faults.chaos_app import DEPLOYING, ChaosApp
from tests.system.faults.fleet import PATIENCE, Fleet
from tests.system.faults.injector import Injector, send_signal
from tests.system.faults.load import KIB, MIB
from tests.system.faults.processes import is_alive, open_files
from tests.system.faults.server_generations import DESCRIPTORS, ServerGenerations
from tests.system.faults.shifted_clock import ShiftedClock
from tests.system.faults.small_disk import SmallDisk
from tests.system.faults.strace import Strace

HOUR = 3600.0

FAILING_CALLS = (
    ("pwritev,pwritev2", "EIO"),
    ("pwritev,pwritev2", "ENOSPC"),
    ("pwrite64", "EIO"),
    ("fdatasync", "EIO"),
    ("fsync", "EIO"),
    ("rename", "EIO"),
    ("openat", "EMFILE"),
)
"""Writes of files, writes of the database, syncs of both, syncs before the last name, the last name, opening."""

SYNCS = ("fdatasync", "fsync", "rename")
"""After one of these has failed the server takes back what was not synced before."""


@dataclass
class Scene:
    """The subjects of the faults."""

    servers: ServerGenerations
    fleet: Fleet
    app: ChaosApp
    line: FaultProxy
    """Is never harmed."""
    bad_line: FaultProxy
    disk: SmallDisk
    clock: ShiftedClock
    scratch: Path
    check: Callable[[], None]
    """Looks at the directory while no server is at work on it."""
    note: Callable[[str], None]
    hits: Counter[str] = field(default_factory=Counter)


class Chaos(Injector):
    """All faults of one server's machine."""

    def __init__(self, scene: Scene, seed: int) -> None:
        super().__init__(seed, scene.note, scene.hits)
        self.scene = scene

    # --- processes ----------------------------------------------------------------------------------------------------

    def kill_a_worker(self) -> bool:
        workers, flying = self.scene.servers.workers(), self.scene.fleet.flying()
        return bool(workers and send_signal(self._chance.choice(workers), signal.SIGKILL) and flying)

    def kill_all_processes(self) -> bool:
        flying = self.scene.fleet.flying()
        self.scene.servers.kill_all()
        self.scene.check()
        self.scene.servers.start()
        return bool(flying)

    def restart_by_sigterm(self) -> bool:
        """Stop the old server, then start the next one; for a moment none serves."""
        self.scene.servers.end(self.scene.servers.newest)
        self.scene.servers.start()
        return True

    def stop_a_worker(self) -> bool:
        """Stop a worker for longer than clients wait; its uploads are taken over, then it writes what it has."""
        fleet, victims = self.scene.fleet, self.scene.fleet.sending()
        with self._stopped() as stopped:
            self._wait_for_bytes(256 * KIB)
            self._chance.shuffle(victims)
            for upload in sorted(victims, key=lambda one: not one.may_be_mistaken)[:3]:
                fleet.take_over(upload, by_another_file=1.0)
            time.sleep(PATIENCE + self._chance.uniform(0.5, 2))
        return stopped

    @contextmanager
    def _stopped(self) -> Iterator[bool]:
        workers = self.scene.servers.workers()
        pid = self._chance.choice(workers) if workers else 0
        stopped = bool(pid) and send_signal(pid, signal.SIGSTOP)
        try:
            yield stopped
        finally:
            if pid:
                send_signal(pid, signal.SIGCONT)

    def two_generations(self) -> bool:
        """Run a second server on the same directory; then end the first, gracefully or not."""
        old = self.scene.servers.newest
        self.scene.servers.start()
        self._wait_for_bytes(2 * MIB)
        if self._chance.random() < 0.5:
            self.kill_a_worker()
            self._wait_for_bytes(MIB)
        if self._chance.random() < 0.5:
            self.scene.servers.end(old)
        else:
            self.scene.servers.kill(old)
        return True

    def kill_the_supervisor(self) -> bool:
        """Kill the supervisor; its workers continue for a moment, while the next server starts."""
        old, flying = self.scene.servers.newest, self.scene.fleet.flying()
        workers = self.scene.servers.kill_supervisor(old)
        self.scene.servers.start()
        self.scene.servers.see_off(old, workers)
        return bool(flying)

    # --- the machine --------------------------------------------------------------------------------------------------

    def fail_system_calls(self) -> bool:
        workers = self.scene.servers.workers()
        call, error = self._chance.choice(FAILING_CALLS)
        self.scene.note(f"{call} fails with {error}")
        if call in SYNCS:
            for upload in list(self.scene.fleet.uploads):
                upload.allow_losses(f"{call} failed")
        hits = 0
        with ExitStack() as tracing:
            for pid in workers:
                try:
                    strace = Strace(pid, f"{call}:error={error}", self.scene.scratch / f"strace-{self._number}-{pid}")
                except AssertionError:
                    assert not is_alive(pid)  # it was killed a moment ago
                    continue
                tracing.callback(strace.detach)
                time.sleep(self._chance.uniform(0.3, 1.0))
                hits += strace.hits
        return hits > 0

    def fill_the_disk(self) -> bool:
        before = self._told(501)
        self.scene.disk.fill()
        try:
            deadline = time.monotonic() + 4
            while self._told(501) == before and time.monotonic() < deadline:
                self.scene.disk.fill()
                time.sleep(0.05)
        finally:
            self.scene.disk.empty()
        return self._told(501) > before

    def flood_with_connections(self) -> bool:
        """Open more idle connections than a server has descriptors."""
        port = self.scene.servers.newest.port
        with ExitStack() as idle:
            for _ in range(2 * DESCRIPTORS + 100):
                with suppress(OSError):
                    idle.enter_context(socket.create_connection(("127.0.0.1", port), 1))
            self._wait_for_bytes(MIB)
        return "out of file descriptors" in self.scene.servers.log

    def use_up_descriptors(self) -> bool:
        """Lower a worker's limit to a few more descriptors than it uses, and take those by idle connections."""
        workers = self.scene.servers.workers()
        if not workers:
            return False
        pid = self._chance.choice(workers)
        with suppress(ProcessLookupError), ExitStack() as undone:
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            few = len(open_files(pid)) + self._chance.randint(1, 8)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, limits[1]))
            undone.callback(resource.prlimit, pid, resource.RLIMIT_NOFILE, limits)
            for _ in range(40):
                with suppress(OSError):
                    port = self.scene.servers.newest.port
                    undone.enter_context(socket.create_connection(("127.0.0.1", port), 1))
            self._wait_for_bytes(MIB)
            time.sleep(0.5)
            return len(open_files(pid)) >= few - 1
        return False

    def clock_jumps(self) -> bool:
        """Move the clock by an hour ahead or back, and then back again; a worker may die meanwhile."""
        self.scene.clock.jump(self._chance.choice((HOUR, -HOUR)))
        try:
            self._wait_for_bytes(MIB)
            if self._chance.random() < 0.5:
                self.kill_a_worker()
            self._wait_for_bytes(MIB)
        finally:
            self.scene.clock.jump(0.0)
        return True

    # --- lines --------------------------------------------------------------------------------------------------------

    def cut_connections(self) -> bool:
        return self.scene.bad_line.cut() > 0

    def reset_in_a_chunk(self) -> bool:
        before = self.scene.bad_line.counters.reset
        self.scene.bad_line.reset_after(self._chance.randint(1, 300 * KIB), times=3)
        self._wait_for_bytes(MIB)
        return self.scene.bad_line.counters.reset > before

    def half_open_connections(self) -> bool:
        return self.scene.bad_line.half_open() > 0

    def stall_the_line(self) -> bool:
        """Stall the line for longer than clients wait."""
        before = self.scene.bad_line.counters.stalled
        self.scene.bad_line.stall()
        time.sleep(self._chance.uniform(0.5, PATIENCE + 1))
        self.scene.bad_line.resume()
        return self.scene.bad_line.counters.stalled > before

    def answer_502(self) -> bool:
        before = self.scene.bad_line.counters.answered
        self.scene.bad_line.answer(502, "no upstream")
        self.scene.bad_line.cut()
        self._wait_for_bytes(MIB)
        self.scene.bad_line.answer(None)
        return self.scene.bad_line.counters.answered > before

    # --- applications and users ---------------------------------------------------------------------------------------

    def app_away(self) -> bool:
        self.scene.app.stop()
        self._wait_for_bytes(2 * MIB)
        self.scene.app.start()
        return True

    def app_deployed(self) -> bool:
        """Let a proxy answer instead of the application for a while."""
        before = self.scene.app.moods["deployed"]
        self.scene.app.deploying = self._chance.choice(DEPLOYING)
        deadline = time.monotonic() + 4
        while self.scene.app.moods["deployed"] == before and time.monotonic() < deadline:
            time.sleep(0.05)
        self.scene.app.deploying = None
        return self.scene.app.moods["deployed"] > before

    def take_over_uploads(self) -> bool:
        return self.scene.fleet.take_over_some(self._chance)

    def cancel_an_upload(self) -> bool:
        return self.scene.fleet.cancel_one(self._chance)

    def offer_another_file(self) -> bool:
        """Offer a file of another fingerprint under the same ticket, which is refused."""
        uploads = [upload for upload in self.scene.fleet.sending() if upload.has_told_fingerprint]
        if not uploads:
            return False
        upload = self._chance.choice(uploads)
        url = f"http://127.0.0.1:{self.scene.line.port}/incoming/0.1/frontend/upload/{upload.ticket_id}"
        hello = {"type": "hello", "session": "somebody-else", "name": "a.bin", "size": len(upload.content)}
        try:
            answer = requests.post(url, json={**hello, "fingerprint": "sha256:another"}, timeout=PATIENCE)
        except requests.RequestException:
            return False
        is_taken = answer.status_code == 200 and answer.json()["state"] in ("new", "uploading")
        assert not is_taken, f"{upload}: another file was taken"
        return answer.status_code == 409

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _told(self, code: int) -> int:
        return sum(client.errors[code] for client in self.scene.fleet.clients)

    def _wait_for_bytes(self, more: int, seconds: float = 3.0) -> None:
        """Wait until this many further bytes are acknowledged, or for this long."""
        target = self.scene.fleet.acked_bytes + more
        deadline = time.monotonic() + seconds
        while self.scene.fleet.acked_bytes < target and time.monotonic() < deadline:
            time.sleep(0.02)
