"""`incoming send` as a process, and an application that keeps what arrives."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from incoming.client import Tickets
from tests.support.app_stub import Answer, AppStub, Callback, Reply, Script
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import sha256_of
from tests.support.tools import ROOT
from tests.support.waiting import wait_until


class Application:
    """Gives tickets at `/ticket`, and notes name and digest of every file that it is handed."""

    def __init__(self, stub: AppStub, server: IncomingServer) -> None:
        self.stub = stub
        self.server = server
        self.tickets: list[str] = []
        self.wanted: list[dict[str, str]] = []
        self.received: list[tuple[str, str]] = []
        self.verdicts: list[Script] = []
        """Answers to the next callbacks, before all others get "done"."""
        stub.default = self._answer

    @property
    def ticket_url(self) -> str:
        return f"http://127.0.0.1:{self.stub.port}/ticket"

    def new_ticket(self) -> str:
        self.tickets.append(Tickets(self.server.base_url, retry_for=60).new_upload(self.stub.url))
        return self.tickets[-1]

    def upload_url(self, base_url: str | None = None) -> str:
        """The URL of a new upload, as it is reached through `base_url`."""
        return f"{base_url or self.server.base_url}/incoming/0.1/frontend/upload/{self.new_ticket()}"

    def _answer(self, call: Callback) -> Reply:
        if call.path == "/ticket":
            self.wanted.append(call.params)
            return Answer(body=self.new_ticket())
        if call.params.get("cancelled") == "yes":
            return "done"
        if self.verdicts:
            verdict = self.verdicts.pop(0)
            return verdict(call) if callable(verdict) else verdict
        return self.take(call)

    def take(self, call: Callback) -> Reply:
        """Note the file of a callback, and accept it."""
        self.received.append((call.params["filenameFromBrowser"], sha256_of(Path(call.params["filename"]))))
        return "done"


class Sender:
    """Runs the command, with a directory for its state."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str | Path, stdin: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-W", "error", "-m", "incoming", "send", "--progress", "json", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "XDG_STATE_HOME": str(self.state)},
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._running.append(process)
        return process

    def run(self, *arguments: str | Path, stdin: IO[bytes] | None = None) -> "Result":
        """Run it to its end."""
        return finish(self.start(*arguments, stdin=stdin))

    def remembered(self) -> list[Path]:
        """The records that are left."""
        return list(self.state.rglob("*.json"))

    def stop(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate()


class Result:
    """What a run has said."""

    def __init__(self, code: int, output: bytes, errors: bytes) -> None:
        self.code = code
        self.errors = errors.decode()
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in output.decode().splitlines()]

    @property
    def results(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["type"] == "result"]

    @property
    def reason(self) -> str:
        """Why the only file was not sent."""
        [result] = self.results
        return str(result["reason"])

    def notes(self) -> str:
        return "\n".join(line["note"] for line in self.lines if line["type"] == "progress")

    def transports(self) -> set[str]:
        return {line["transport"] for line in self.lines if line.get("state") == "uploading"}


def finish(process: subprocess.Popen[bytes], timeout: float = 90.0) -> Result:
    output, errors = process.communicate(timeout=timeout)
    assert b"Traceback" not in errors, errors.decode()
    return Result(process.returncode, output, errors)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def wait_for(condition: Callable[[], object], what: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the condition holds while the process runs."""
    wait_until(lambda: condition() or process.poll() is not None, what, 60)
    assert process.poll() is None, f"ended too soon: {process.communicate()}"
