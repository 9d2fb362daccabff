"""The supervisor, with workers that do what a test tells them."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from incoming.server.supervisor import run_once
from tests.support.tools import ROOT
from tests.support.waiting import wait_until

# A worker appends "start PID" to a file, then does what `behaviour` says; told to end it appends "end PID".
PROGRAM = """
import logging, os, signal, sys, time
from pathlib import Path
from incoming.server.supervisor import Supervisor
import incoming.server.supervisor

diary = Path(sys.argv[1])
logging.basicConfig(level=logging.INFO)
incoming.server.supervisor.KILL_AFTER = 0.2

def note(what):
    with diary.open("a") as file:
        file.write(f"{what} {os.getpid()}\\n")

class Told(Exception):
    pass

def told(number, frame):
    raise Told

def work(lifeline):
    signal.signal(signal.SIGTERM, told)
    try:
        note("start")
        BEHAVIOUR
    except Told:
        note("end")
    return 0

def close_sockets():
    note("let go")

note("parent")
sys.exit(Supervisor(2, work, patience=0.2, close_sockets=close_sockets).run())
"""

Start = Callable[[str], "Supervised"]


class Supervised:
    """A supervisor in a process of its own."""

    def __init__(self, directory: Path, behaviour: str) -> None:
        self.diary = directory / "diary"
        self.log = directory / "log"
        program = PROGRAM.replace("BEHAVIOUR", textwrap.indent(textwrap.dedent(behaviour), " " * 8).strip())
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, str(self.diary)], cwd=ROOT, stderr=log, start_new_session=True
            )

    def noted(self, what: str) -> list[int]:
        """The process ids behind each of these notes so far."""
        lines = self.diary.read_text().splitlines() if self.diary.exists() else []
        return [int(line.rpartition(" ")[2]) for line in lines if line.startswith(what + " ")]

    def wait_for(self, count: int, what: str) -> list[int]:
        return wait_until(lambda: self.noted(what) if len(self.noted(what)) >= count else [], f"{count} times {what}")


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Start]:
    started: list[Supervised] = []

    def start(behaviour: str) -> Supervised:
        started.append(Supervised(tmp_path, behaviour))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_every_worker(number: signal.Signals, supervise: Start) -> None:
    supervised = supervise("time.sleep(60)")
    workers = supervised.wait_for(2, "start")
    supervised.process.send_signal(number)
    assert supervised.process.wait(20) == 0
    assert sorted(supervised.noted("end")) == sorted(workers)
    assert supervised.noted("let go") == [supervised.process.pid]
    assert supervised.log.read_text() == ""


def test_ctrl_c_reaches_the_workers_once(supervise: Start) -> None:
    """A terminal signals the whole group; the workers wait for their supervisor's word."""
    supervised = supervise("time.sleep(60)")
    supervised.wait_for(2, "start")
    os.killpg(supervised.process.pid, signal.SIGINT)
    assert supervised.process.wait(20) == 0
    assert len(supervised.noted("end")) == 2


def test_a_worker_that_dies_is_replaced(supervise: Start) -> None:
    supervised = supervise("time.sleep(60)")
    first, second = supervised.wait_for(2, "start")
    os.kill(first, signal.SIGKILL)
    third = supervised.wait_for(3, "start")[2]
    assert third not in (first, second)
    assert "a worker exited with code 137" in supervised.log.read_text()
    supervised.process.terminate()
    assert supervised.process.wait(20) == 0
    assert sorted(supervised.noted("end")) == sorted([second, third])


def test_workers_that_die_at_once_are_replaced_with_a_growing_pause(supervise: Start) -> None:
    supervised = supervise("os._exit(3)")
    supervised.wait_for(6, "start")
    log = supervised.log.read_text()
    assert log.count("a worker exited with code 3; starting another one in 0.5 s") == 2
    assert log.count("starting another one in 1 s") == 2
    supervised.process.terminate()
    assert supervised.process.wait(20) == 0


def test_a_failed_worker_is_logged(supervise: Start) -> None:
    supervised = supervise("raise RuntimeError('no luck')")
    supervised.wait_for(2, "start")
    wait_until(lambda: supervised.log.read_text().count("RuntimeError: no luck") == 2, "both tracebacks")
    wait_until(lambda: "a worker exited with code 1" in supervised.log.read_text(), "the supervisor's line")


def test_workers_that_do_not_end_are_killed(supervise: Start) -> None:
    supervised = supervise("signal.signal(signal.SIGTERM, signal.SIG_IGN); note('deaf'); time.sleep(60)")
    supervised.wait_for(2, "deaf")
    supervised.process.terminate()
    assert supervised.process.wait(20) == 1
    assert "workers did not exit in time" in supervised.log.read_text()
    assert supervised.noted("end") == []


def test_workers_exit_when_the_supervisor_is_gone(supervise: Start) -> None:
    supervised = supervise("note('held'); os.read(lifeline, 1); note('orphaned')")
    workers = supervised.wait_for(2, "held")
    supervised.process.kill()
    assert sorted(supervised.wait_for(2, "orphaned")) == sorted(workers)


def test_run_once_gives_the_exit_code() -> None:
    assert run_once(lambda lifeline: 0) == 0
    assert run_once(lambda lifeline: 7) == 7
    assert run_once(lambda lifeline: os.kill(os.getpid(), signal.SIGKILL) or 0) == 137
