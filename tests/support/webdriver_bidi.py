"""Firefox, driven over WebDriver BiDi (W3C): JSON messages over a WebSocket that the browser itself opens.

Only what the tests need; no driver program is between.
"""

import base64
import itertools
import json
import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

from tests.support.browser_tab import CALL, BrowserProcess, ScriptError, arguments_of

_ANSWER_WITHIN = 120
"""Seconds."""

# No traffic of its own, and no welcome pages. The rest Firefox sets by itself when it is driven.
_PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.newtabpage.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
}


class BidiError(Exception):
    """The browser refuses a command."""


class Firefox:
    """Runs from `start()` to `stop()`; its profile is in `home`."""

    def __init__(self, executable: str, home: Path) -> None:
        self._executable = executable
        self._home = home
        self._numbers = itertools.count(1)
        self._running = ExitStack()
        self._socket: Any = None

    def start(self) -> "Firefox":
        profile = self._home / "profile"
        profile.mkdir(parents=True)
        preferences = "".join(f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in _PREFERENCES.items())
        (profile / "user.js").write_text(preferences)
        options = ["--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port=0"]
        process = BrowserProcess([self._executable, *options], self._home)
        self._running.callback(shutil.rmtree, profile, ignore_errors=True)
        self._running.callback(process.stop)
        found = process.wait_for(lambda: re.search(r"BiDi listening on (ws://\S+)", process.log), "Firefox's address")
        # Nothing of this goes over a proxy that the environment names.
        socket = connect(f"{found[1]}/session", max_size=None, proxy=None)
        self._socket = self._running.enter_context(socket)
        self.call("session.new", capabilities={})
        return self

    def stop(self) -> None:
        self._running.close()

    def __enter__(self) -> "Firefox":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def new_tab(self) -> "FirefoxTab":
        """A tab with storage of its own, as in a fresh profile."""
        storage = self.call("browser.createUserContext")["userContext"]
        return FirefoxTab(self, self.call("browsingContext.create", type="tab", userContext=storage)["context"])

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command and return its result; events are not looked at."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer: dict[str, Any] = json.loads(self._socket.recv(timeout=_ANSWER_WITHIN))
            if answer.get("id") != number:
                continue
            if answer["type"] == "error":
                raise BidiError(f"{method}: {answer['error']}: {answer['message']}")
            result: dict[str, Any] = answer["result"]
            return result


class FirefoxTab:
    """One tab of Firefox."""

    def __init__(self, firefox: Firefox, context: str) -> None:
        self._firefox = firefox
        self._context = context

    def goto(self, url: str) -> None:
        self._call("browsingContext.navigate", url=url, wait="complete")

    def reload(self) -> None:
        self._call("browsingContext.reload", wait="complete")

    def evaluate(self, expression: str, arg: Any = None) -> Any:
        answer = self._firefox.call(
            "script.callFunction",
            functionDeclaration=CALL,
            target={"context": self._context},
            arguments=[{"type": "string", "value": text} for text in arguments_of(expression, arg)],
            awaitPromise=True,
        )
        if answer["type"] == "exception":
            raise ScriptError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"]["value"])

    def set_input_files(self, selector: str, files: Path) -> None:
        nodes = self._call("browsingContext.locateNodes", locator={"type": "css", "value": selector})["nodes"]
        self._call("input.setFiles", element={"sharedId": nodes[0]["sharedId"]}, files=[str(files)])

    def screenshot(self, *, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("browsingContext.captureScreenshot")["data"]))

    def close(self) -> None:
        self._call("browsingContext.close", promptUnload=False)

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        return self._firefox.call(method, context=self._context, **parameters)
