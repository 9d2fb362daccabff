"""The server under test as what it is in production: a process with options, a directory, a port and a log."""

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.support.ports import accepts_connections, answers_http, free_port
from tests.support.tools import ROOT
from tests.support.waiting import wait_until

# What no log may contain unless a test expects it: errors in both log formats, and what Python says of its own accord.
_NOISE = re.compile(
    r"Traceback \(most recent call last\)"
    r"|\b(ERROR|CRITICAL|FATAL)\b"
    r'|"level":\s*"(error|critical|ERROR|CRITICAL)"'
    r"|\b\w+Warning: "
    r"|was never (awaited|retrieved)"
)


class IncomingServer:
    """`python incoming.py` on 127.0.0.1, on a port of its own unless told, with `storage_dir` and further `options`.

    `address` is where it listens; `prefix` is a command that runs it, such as in a network namespace of its own.
    `descriptors` is how many each of its processes may have; `program` is what Python runs in the server's place. It
    keeps port and directory over `restart()`. The log of all its runs is in `log`, unless the descriptor `log_to` gets
    it.
    """

    def __init__(
        self,
        storage_dir: Path,
        *options: str,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        descriptors: int | None = None,
        log_to: int | None = None,
        program: Sequence[str] = (str(ROOT / "incoming.py"),),
        address: str = "127.0.0.1",
        prefix: Sequence[str] = (),
    ) -> None:
        self.storage_dir = storage_dir
        self.options = options
        self.port = port or free_port()
        self._descriptors = descriptors
        self._log_to = log_to
        self.program = program
        self.address = address
        self._prefix = tuple(prefix)
        self._port_is_ours_to_change = port is None
        self._was_up = False
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default", **(env or {})}
        self.log_path = storage_dir.with_name(storage_dir.name + ".log")
        self._expected_noise: list[re.Pattern[str]] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def host(self) -> str:
        """What `incoming.set_server_hostname` wants."""
        return f"{self.address}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not running"
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self, timeout: float = 30.0) -> "IncomingServer":
        """Start the process and wait until it answers: its port takes connections even before, during recovery."""
        assert not self.is_running(), "already running"
        self._launch()
        try:
            wait_until(self._is_up, f"the server to answer on port {self.port}", timeout)
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}; its log:\n{self.log}") from None
        if not self.is_running():
            raise AssertionError(f"the server ended with code {self.wait()} at start; its log:\n{self.log}")
        self._was_up = True
        return self

    def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM, the polite end; returns the exit code."""
        assert self._process is not None, "not running"
        self._process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """SIGKILL for every process of the server at once. Nothing happens when there is none."""
        if self._process is not None:
            self._kill_group()
            self._process.wait()
            self._process = None

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for the process to end by itself; returns its exit code."""
        assert self._process is not None, "not running"
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not end within {timeout:g} s; its log:\n{self.log}") from None
        self._kill_group()
        self._process = None
        return code

    def restart(self, *, kill: bool = False) -> None:
        """Down, by SIGTERM or by SIGKILL, and up again on the same port and directory."""
        if kill:
            self.kill()
        else:
            self.stop()
        self.start()

    def expect_noise(self, pattern: str) -> None:
        """Lines of the log in which the regular expression `pattern` is found are no noise."""
        self._expected_noise.append(re.compile(pattern))

    def noise(self) -> list[str]:
        """The lines of the log with a traceback, an error or a warning of Python's that the test did not expect."""
        return [
            line
            for line in self.log.splitlines()
            if _NOISE.search(line) and not any(expected.search(line) for expected in self._expected_noise)
        ]

    def assert_quiet(self) -> None:
        """Fail if there is noise in the log."""
        noise = self.noise()
        assert not noise, "noise in the server's log: " + "\n".join(noise) + "\n\nThe whole log:\n" + self.log

    def __enter__(self) -> "IncomingServer":
        return self if self.is_running() else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _launch(self) -> None:
        if self._was_up:  # its clients know the port, and workers that were killed may take a moment to go
            wait_until(lambda: not accepts_connections(self.port, self.address), f"port {self.port} to be free")
        elif self._port_is_ours_to_change and accepts_connections(self.port, self.address):
            self.port = free_port()
        command = [*self._prefix, sys.executable, *self.program]
        command += ["--address", self.address, "--port", str(self.port)]
        command += ["--storage-dir", str(self.storage_dir), *self.options]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.storage_dir.parent,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if self._log_to is None else self._log_to,
                start_new_session=True,  # a process group of its own, so that kill() reaches the workers as well
                preexec_fn=self._limit_descriptors if self._descriptors else None,
            )

    def _limit_descriptors(self) -> None:
        assert self._descriptors is not None
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._descriptors, self._descriptors))

    def _is_up(self) -> bool:
        return not self.is_running() or answers_http(self.port, "/incoming/0.1/health/live", self.address)

    def _kill_group(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):  # nobody left
            os.killpg(self._process.pid, signal.SIGKILL)
