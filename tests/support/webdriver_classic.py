"""WebKitGTK's MiniBrowser, driven over WebDriver (W3C): HTTP requests to the WebKitWebDriver that comes with it.

Only what the tests need. GTK wants a display: Xvfb is one that nobody looks at.
"""

import base64
import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from tests.support.browser_tab import CALL, BrowserProcess, ScriptError, arguments_of
from tests.support.ports import answers_http, free_port

MINI_BROWSERS = (
    "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
    "/usr/lib/aarch64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
)
"""Where Debian has it."""

_ANSWER_WITHIN = 120
"""Seconds."""
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's id (WebDriver, 12.2)."""
_RUN = f"""const done = arguments[2];
({CALL})(arguments[0], arguments[1]).then((value) => done([value, null]), (error) => done([null, String(error)]));"""


class WebDriverError(Exception):
    """The browser refuses a command."""


class WebKit:
    """Runs from `start()` to `stop()`; what it keeps is in `home`."""

    def __init__(self, driver: str, mini_browser: str, xvfb: str, home: Path) -> None:
        self._driver = driver
        self._mini_browser = mini_browser
        self._xvfb = xvfb
        self._home = home
        self._running = ExitStack()
        self._session = ""
        self._first = ""
        self._current = ""

    def start(self) -> "WebKit":
        self._running.callback(shutil.rmtree, self._home, ignore_errors=True)
        display = self._start_display()
        port = free_port()
        process = BrowserProcess(
            [self._driver, f"--port={port}"],
            self._home,
            DISPLAY=display,
            GDK_BACKEND="x11",
            LIBGL_ALWAYS_SOFTWARE="1",
        )
        self._running.callback(process.stop)
        process.wait_for(lambda: answers_http(port, "/status"), "WebKitWebDriver to answer")
        options = {"binary": self._mini_browser, "args": ["--automation"]}
        self._session = f"http://127.0.0.1:{port}/session"
        wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options, "timeouts": {"script": _ANSWER_WITHIN * 1000}}}
        self._session += "/" + self.call("POST", "", capabilities=wanted)["sessionId"]
        self._running.callback(self.call, "DELETE", "")
        self._first = self._current = self.call("GET", "/window")
        return self

    def _start_display(self) -> str:
        """Start Xvfb; it chooses a display that is free and writes its number to the descriptor that it was given."""
        numbers = self._home / "display"
        numbers.parent.mkdir(parents=True, exist_ok=True)
        # A shell opens the file for it as descriptor 3.
        script = 'exec 3>"$1"; shift; exec "$@"'
        options = ["-displayfd", "3", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
        display = BrowserProcess(["sh", "-c", script, "sh", str(numbers), self._xvfb, *options], self._home)
        self._running.callback(display.stop)
        written = lambda: numbers.read_text().endswith("\n") if numbers.exists() else False  # noqa: E731
        display.wait_for(written, "Xvfb to name its display")
        return ":" + numbers.read_text().strip()

    def stop(self) -> None:
        self._running.close()

    def __enter__(self) -> "WebKit":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def new_tab(self) -> "WebKitTab":
        """A window, since tabs behind others are hidden; origins share their storage with those of other windows."""
        return WebKitTab(self, self.call("POST", "/window/new", type="window")["handle"])

    def switch_to(self, window: str = "") -> None:
        """Send the commands that follow to this window, by default to the one that is always there."""
        window = window or self._first
        if self._current != window:
            self.call("POST", "/window", handle=window)
            self._current = window

    def call(self, method: str, command: str, **parameters: object) -> Any:
        """Send a command and return its value."""
        body = json.dumps(parameters) if method == "POST" else None
        with requests.Session() as session:
            session.trust_env = False  # no proxy that the environment names
            answer = session.request(method, self._session + command, data=body, timeout=_ANSWER_WITHIN)
        value = answer.json()["value"]
        if answer.status_code != 200:
            raise WebDriverError(f"{method} {command}: {value['error']}: {value['message']}")
        return value


class WebKitTab:
    """One tab of the MiniBrowser."""

    def __init__(self, webkit: WebKit, window: str) -> None:
        self._webkit = webkit
        self._window = window

    def goto(self, url: str) -> None:
        self._call("POST", "/url", url=url)

    def reload(self) -> None:
        self._call("POST", "/refresh")

    def evaluate(self, expression: str, arg: Any = None) -> Any:
        value, error = self._call("POST", "/execute/async", script=_RUN, args=arguments_of(expression, arg))
        if error is not None:
            raise ScriptError(error)
        return json.loads(value)

    def set_input_files(self, selector: str, files: Path) -> None:
        element = self._call("POST", "/element", using="css selector", value=selector)[_ELEMENT]
        self._call("POST", f"/element/{element}/value", text=os.fspath(files))

    def screenshot(self, *, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def close(self) -> None:
        self._call("DELETE", "/window")
        self._webkit.switch_to()

    def _call(self, method: str, command: str, **parameters: object) -> Any:
        self._webkit.switch_to(self._window)
        return self._webkit.call(method, command, **parameters)
