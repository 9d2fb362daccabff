"""A browser and its tabs as the tests of the library see them, whatever engine it is.

The names are Playwright's, whose `Page` is such a tab, too: what drives a page in Chromium drives it in every engine.
"""

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Protocol

from tests.support.waiting import wait_until

CALL = """async (expression, given) => {
    let value = (0, eval)(`(${expression})`);
    if (typeof value === "function") value = value(JSON.parse(given));
    return JSON.stringify(await value) ?? "null";
}"""
"""Evaluates an expression in the page's own scope; a function is called with what is given. Values travel as JSON."""


class ScriptError(Exception):
    """A script in the page has thrown this."""


class Tab(Protocol):
    """One tab."""

    def goto(self, url: str) -> Any:
        """Load a page and wait until that is done."""

    def evaluate(self, expression: str, arg: Any = None) -> Any:
        """The value of an expression, of a function called with `arg`, or of a promise."""

    def set_input_files(self, selector: str, files: Path) -> Any:
        """Choose a file as the user does, in an `<input type=file>`."""

    def reload(self) -> Any:
        """Load the page again and wait until that is done."""

    def screenshot(self, *, path: Path) -> Any:
        """Write a PNG of what the tab shows."""

    def close(self) -> Any:
        """Close it. A page that is asked before it is closed has no say."""


class Engine(Protocol):
    """A running browser."""

    def new_tab(self) -> Tab:
        """A tab in front of all others."""


def arguments_of(expression: str, arg: Any) -> tuple[str, str]:
    """What `CALL` takes."""
    return expression, json.dumps(arg, default=str)


class BrowserProcess:
    """A program with a process group of its own, so that all it starts ends with it; its output is in `log`."""

    def __init__(self, command: list[str], home: Path, **environment: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        runtime = home / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        self._log_path = home / f"{Path(command[0]).name}.log"
        own = {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), "NO_AT_BRIDGE": "1", **environment}
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=home,
                env={**os.environ, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def wait_for(self, sign: Any, what: str) -> Any:
        """The first true value of `sign()`; fails at once when the program has ended."""

        def seen() -> Any:
            assert self._process.poll() is None, f"ended with {self._process.returncode} instead of: {what}"
            return sign()

        try:
            return wait_until(seen, what, timeout=120)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}; it said:\n{self.log}") from None

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
