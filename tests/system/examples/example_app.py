"""A web app as a newcomer runs it: a process with options, a directory and a log. Example 1, 2, or the README's."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from tests.support.ports import accepts_connections, free_port
from tests.support.tools import ROOT
from tests.support.waiting import wait_until

BACKENDS = {
    1: ROOT / "examples" / "1-simple" / "backend.py",
    2: ROOT / "examples" / "2-dynamic" / "backend.py",
}


class App:
    """A web app in `directory`, on a port of its own. Use it in a with statement."""

    START_TIMEOUT = 20.0
    """Seconds."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.directory = directory
        self.directory.mkdir(exist_ok=True)
        self.environment: dict[str, str] = {}
        """Variables for the processes that are started from now on."""
        self._log_path = directory.with_name(directory.name + ".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        raise NotImplementedError

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

    def is_at_rest(self) -> bool:
        """Whether no file is being moved into the uploads folder."""
        return not any(path.name.startswith(".") for path in self.uploads.iterdir())

    def get(self, path: str, **options: object) -> requests.Response:
        return requests.get(self.url + path, timeout=30, **options)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        env = {**os.environ, "PYTHONWARNINGS": "default", **self.environment}
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(self.command, cwd=self.directory, env=env, stdout=log, stderr=log)
        try:
            wait_until(self._is_up, f"the app to listen on port {self.port}", self.START_TIMEOUT)
            assert self._process.poll() is None, f"the app has ended; its log:\n{self.log}"
        except BaseException as error:
            self.stop()
            error.add_note(f"the app's log:\n{self.log}")
            raise
        return self

    def stop(self) -> None:
        """End the app by SIGKILL, as an application server does that has waited for too long."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _is_up(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None or accepts_connections(self.port)


class ExampleApp(App):
    """Example 1 or 2."""

    def __init__(self, number: int, directory: Path, *options: str) -> None:
        super().__init__(directory)
        self._backend = BACKENDS[number]
        self._options = options

    @property
    def command(self) -> list[str]:
        command = [sys.executable, str(self._backend), "--address", "127.0.0.1", "--port", str(self.port)]
        return [*command, "--internal_app_host", f"127.0.0.1:{self.port}", *self._options]


class ReadmeApp(App):
    """The application in the README as it stands there, with other ports, and its first page, or its `short` one.

    `incoming_host` is the server's.
    """

    def __init__(self, directory: Path, incoming_host: str, short: bool = False) -> None:
        super().__init__(directory)
        for name, text in (
            ("app.py", readme_snippets("python")[0]),
            ("page.html", readme_snippets("html")[int(short)]),
        ):
            text = text.replace("localhost:4000", incoming_host)
            text = text.replace("localhost:8000", f"127.0.0.1:{self.port}").replace("port=8000", f"port={self.port}")
            (directory / name).write_text(text)

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-u", "app.py"]


def readme_snippets(language: str) -> list[str]:
    """Return the README's blocks of code in that language."""
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
