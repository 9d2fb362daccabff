"""An example web app as a newcomer runs it: a process with options, a working directory and a log."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import requests

from tests.support.ports import accepts_connections, free_port
from tests.support.tools import ROOT
from tests.support.waiting import wait_until

BACKENDS = {
    1: ROOT / "examples" / "1-simple" / "backend.py",
    2: ROOT / "examples" / "2-dynamic" / "backend.py",
}


class ExampleApp:
    """Example 1 or 2 in `directory`, on a port of its own."""

    def __init__(self, number: int, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.directory = directory
        self.directory.mkdir()
        self._log_path = directory.with_name(directory.name + ".log")
        self._command = [sys.executable, str(BACKENDS[number]), "--address", "127.0.0.1", "--port", str(self.port)]
        self._command += ["--internal_app_host", f"127.0.0.1:{self.port}", *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def uploads(self) -> Path:
        return self.directory / "uploads"

    @property
    def log(self) -> str:
        return self._log_path.read_text()

    def contents(self) -> dict[str, bytes]:
        """The uploads folder, files being copied included."""
        return {path.name: path.read_bytes() for path in self.uploads.iterdir()}

    def get(self, path: str, **options: object) -> requests.Response:
        return requests.get(self.url + path, timeout=30, **options)  # type: ignore[arg-type]

    def __enter__(self) -> "ExampleApp":
        env = {**os.environ, "PYTHONWARNINGS": "default"}
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(self._command, cwd=self.directory, env=env, stdout=log, stderr=log)
        try:
            wait_until(self._is_up, f"the app to listen on port {self.port}; its log:\n{self.log}")
            assert self._process.poll() is None, f"the app has ended; its log:\n{self.log}"
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _is_up(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None or accepts_connections(self.port)
