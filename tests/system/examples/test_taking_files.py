"""Whatever happens while an app takes a file from another file system: it says "done" only when it has all of it.

The README's application and both examples, each with its folder of uploads on a disk of its own, small and real.
"""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.support.tools import ROOT
from tests.support.waiting import wait_until
from tests.system.examples.example_app import App, ExampleApp, ReadmeApp
from tests.system.examples.fake_incoming import FakeIncoming
from tests.system.faults.small_disk import SmallDisk

MIB = 1 << 20
CONTENT = hashlib.sha256(b"large").digest() * (6 * MIB // 32) + b"the end"
HELD_COPY = Path(__file__).with_name("held_copy")
KILLED = Path(__file__).with_name("killed_at_every_step.py")


class Taker:
    """One of the three apps, with what differs between them, to be started. Its uploads are on `disk`."""

    def __init__(self, kind: str, start_another: Callable[[], App], disk: SmallDisk, incoming: FakeIncoming) -> None:
        self.kind = kind
        self.app = start_another()
        self.start_another = start_another
        self.disk = disk
        self.incoming = incoming
        self.gate = self.app.directory.with_name("gate")

    def new_ticket(self) -> str:
        """A ticket whose file has arrived."""
        if self.kind == "README":
            assert requests.post(f"{self.app.url}/ticket", timeout=30).status_code == 200
        elif self.kind == "example 1":
            self.app.get("/")
        else:
            self.app.get("/api/frontend/request_upload", params={"filename": "file.bin"})
        ticket = self.incoming.last_ticket()
        self.incoming.store(ticket, CONTENT)
        return ticket

    def call(self, ticket: str, app: App | None = None) -> str:
        """Call the app as the server does; returns "done", "wait", or "again" for what makes the server call again."""
        url = f"{(app or self.app).url}/api/backend/upload_finished"
        answer = self.incoming.call_back(ticket, url=url, filenameFromBrowser="file.bin")
        if answer.status_code >= 500:
            return "again"
        assert answer.status_code == 200, answer.text
        return answer.text

    def is_done(self, ticket: str) -> bool:
        """Whether the app has said that it has the file: by its answer, or by finish_upload."""
        return any(call.parameters["id"] == ticket for call in self.incoming.calls_of("finish_upload"))

    def take(self, ticket: str) -> None:
        """Call until the app has the file, as the server does."""
        if wait_until(lambda: (said := self.call(ticket)) != "again" and said, "the app to take the file") == "wait":
            wait_until(lambda: self.is_done(ticket), "the app to report that it has the file")

    def assert_taken(self, ticket: str) -> None:
        """The app has the file, once, and the server is rid of it or will remove it."""
        name = ticket if self.kind == "README" else "file.bin"
        assert {path.name: path.read_bytes() == CONTENT for path in self.app.uploads.iterdir()} == {name: True}
        assert self.kind == "README" or not self.incoming.file_of(ticket).exists()

    def files(self) -> set[str]:
        """The names that say that a file is there."""
        return {path.name for path in self.app.uploads.iterdir() if not path.name.startswith(".")} - {"filler"}

    def start(self, *, hold_copy: bool = False) -> None:
        """Start the app; with `hold_copy` its first copy stops in the middle."""
        if hold_copy:
            self.gate.mkdir()
            self.app.environment = {"PYTHONPATH": str(HELD_COPY), "HOLD_COPY_AT": str(self.gate)}
        self.app.start()

    def call_until_held(self, ticket: str) -> threading.Thread:
        """Call the app in a thread; returns when half of the file is copied."""
        thread = threading.Thread(target=self._call_in_vain, args=(ticket,))
        thread.start()
        wait_until(lambda: (self.gate / "held").exists(), "the copy to be held")
        [half] = [path for path in self.app.uploads.iterdir() if path.name != "filler" and path.stat().st_size]
        assert half.stat().st_size < len(CONTENT)
        return thread

    def _call_in_vain(self, ticket: str) -> None:
        try:
            self.call(ticket)
        except requests.ConnectionError:
            return


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Room for one file and a half."""
    (tmp_path / "app").mkdir()
    with SmallDisk(tmp_path / "app" / "uploads", 10 * MIB) as disk:
        yield disk


@pytest.fixture(params=["README", "example 1", "example 2"])
def taker(
    request: pytest.FixtureRequest, small_disk: SmallDisk, tmp_path: Path, incoming: FakeIncoming
) -> Iterator[Taker]:
    options = ["--internal_incoming_host", incoming.host, "--incoming_storage_dir", str(incoming.storage_dir)]
    kinds: dict[str, Callable[[], App]] = {
        "README": lambda: ReadmeApp(tmp_path / "app", incoming.host),
        "example 1": lambda: ExampleApp(1, tmp_path / "app", *options),
        "example 2": lambda: ExampleApp(2, tmp_path / "app", *options, "--delay", "0"),
    }
    taker = Taker(request.param, kinds[request.param], small_disk, incoming)
    assert taker.app.uploads.stat().st_dev != incoming.storage_dir.stat().st_dev
    yield taker
    taker.app.stop()


def test_a_file_comes_from_another_file_system_once(taker: Taker) -> None:
    taker.start()
    ticket = taker.new_ticket()
    for _ in range(3):
        taker.take(ticket)
        taker.assert_taken(ticket)


def test_a_full_disk_is_waited_for(taker: Taker) -> None:
    taker.start()
    ticket = taker.new_ticket()
    taker.disk.fill(leave=3 * MIB)
    for _ in range(2):
        assert taker.call(ticket) != "done"
        assert taker.files() == set()
    wait_until(lambda: "No space left on device" in taker.app.log, "the disk to be full")
    assert not taker.is_done(ticket)
    assert taker.incoming.file_of(ticket).read_bytes() == CONTENT
    taker.disk.empty()
    taker.take(ticket)
    taker.assert_taken(ticket)


def test_an_app_that_is_killed_in_the_middle_takes_the_file_after_its_restart(taker: Taker) -> None:
    taker.start(hold_copy=True)
    ticket = taker.new_ticket()
    thread = taker.call_until_held(ticket)
    taker.app.stop()
    thread.join()
    assert taker.files() == set(), "half a file has no name"
    taker.app.start()
    if taker.kind == "example 2":  # it has said "wait", so nobody calls it again
        wait_until(lambda: taker.is_done(ticket), "the app to report that it has the file")
    else:
        assert taker.call(ticket) == "done"
    taker.assert_taken(ticket)
    taker.take(ticket)
    taker.assert_taken(ticket)


def test_another_call_during_the_copy_disturbs_nothing(taker: Taker) -> None:
    """It comes to another process of the app, as it does where several serve one site."""
    taker.start(hold_copy=True)
    ticket = taker.new_ticket()
    thread = taker.call_until_held(ticket)
    with taker.start_another() as other:
        assert taker.call(ticket, other) == ("wait" if taker.kind == "example 2" else "again")
        assert taker.files() == set()
        (taker.gate / "go").touch()
        thread.join()
        taker.take(ticket)
        taker.assert_taken(ticket)
        assert taker.call(ticket, other) == "done"
    taker.assert_taken(ticket)


# --- Killed at every step


@pytest.mark.parametrize("file_system", ["the same", "another"])
def test_wherever_an_app_is_killed_it_takes_the_file_once(tmp_path: Path, file_system: str) -> None:
    (tmp_path / "uploads").mkdir()
    with ExitStack() as mounted:
        if file_system == "another":
            mounted.enter_context(SmallDisk(tmp_path / "uploads", 10 * MIB))
        command = [sys.executable, str(KILLED), str(tmp_path)]
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'examples'}"}
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert run.returncode == 0, run.stdout + run.stderr
    steps = run.stdout.splitlines()
    expected = {"os.rename", "fcntl.flock", "sqlite3.connect", "os.remove"}
    expected |= {"half of the copy", "end of the copy"} if file_system == "another" else set()
    assert expected <= set(steps), steps
