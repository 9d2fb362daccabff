"""Start the server and both example applications, print their addresses, and stop them together.

When one ends, or on Ctrl-C, SIGTERM or SIGHUP, all are stopped. Decides ports and order.
"""

import argparse
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT = 60.0  # seconds until all are ready
STOP_TIMEOUT = 45.0  # seconds to end after SIGTERM: longer than the server takes to drain


@dataclass
class Program:
    title: str
    port: int
    command: list[str]
    cwd: Path
    health: str | None = None
    """A path that answers when the program is ready, if listening does not mean that."""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # A session of its own: the terminal's Ctrl-C reaches only this process, which passes it on once.
        self.process = subprocess.Popen([sys.executable, *self.command], cwd=self.cwd, start_new_session=True)

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def is_ready(self) -> bool:
        if self.health is None:
            return self.listens()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", self.health)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)


def programs(base_port: int, storage_dir: Path) -> list[Program]:
    """Return the server on `base_port` and the examples on the next two ports."""
    server = ["incoming.py", "--port", str(base_port), "--storage-dir", str(storage_dir)]
    found = [Program("Incoming!! server", base_port, server, ROOT, health="/incoming/0.1/health")]
    for number, name in enumerate(["1-simple", "2-dynamic"], start=1):
        port = base_port + number
        example = ["backend.py", "--port", str(port), "--internal_incoming_host", f"localhost:{base_port}"]
        example += ["--incoming_storage_dir", str(storage_dir)]
        found.append(Program(f"Example {name}", port, example, ROOT / "examples" / name))
    return found


def start(all_programs: list[Program], stopping: threading.Event) -> None:
    """Return when all are ready or one has failed."""
    for program in all_programs:
        program.start()
    deadline = time.monotonic() + START_TIMEOUT
    while not all(program.is_ready() for program in all_programs):
        if stopping.wait(0.05) or any(program.has_ended() for program in all_programs):
            return
        if time.monotonic() > deadline:
            print(f"Not all programs are ready after {START_TIMEOUT:g} seconds.", file=sys.stderr)
            stopping.set()
            return
    print()
    for program in all_programs:
        print(f"  {program.title:20} http://localhost:{program.port}/")
    print("\nCtrl-C stops them all.\n", flush=True)


def stop(all_programs: list[Program]) -> None:
    for program in all_programs:
        program.signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    for program in all_programs:
        if program.process is None:
            continue
        try:
            program.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"{program.title} does not exit; killing it.", file=sys.stderr)
            program.signal(signal.SIGKILL)
            program.process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-port", type=int, default=4000, help="port of the server; the examples get the next two")
    parser.add_argument("--storage-dir", type=Path, default=ROOT / "incoming-data")
    given = parser.parse_args()
    all_programs = programs(given.base_port, given.storage_dir.resolve())

    for program in all_programs:
        if program.listens():
            print(f"{program.title}: port {program.port} is in use. Other ports: make run PORT=5000", file=sys.stderr)
            return 1

    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    try:
        start(all_programs, stopping)
        while not stopping.wait(0.2):
            ended = [program for program in all_programs if program.has_ended()]
            if ended:
                print(f"{ended[0].title} has exited; stopping the others.", file=sys.stderr)
                return 1
        return 0
    finally:
        stop(all_programs)


if __name__ == "__main__":
    sys.exit(main())
