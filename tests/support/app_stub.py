"""The web application's side of a handover: an HTTP server that records every callback and answers by a script."""

import threading
import urllib.parse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Callback:
    """One request that the application got."""

    method: str
    path: str
    query: dict[str, str]
    params: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: str = "done"
    headers: dict[str, str] = field(default_factory=dict)


LOOPBACK = "127.0.0.1"

DROP = Answer(status=0)
"""Close the connection without an answer."""

Reply = Answer | tuple[int, str] | str
Script = Reply | Callable[[Callback], Reply]


class AppStub:
    """Listens on `address`, and always on 127.0.0.1, from `start()` to `stop()`; a later `start()` uses the same port.

    Callbacks are answered by `script`, one entry each, a function being asked; when it is used up, by `default`.
    While `hold()` is in force callbacks are recorded, but nobody gets an answer before `release()`.
    """

    def __init__(
        self,
        script: Iterable[Script] = (),
        default: Script = "done",
        port: int | None = None,
        address: str = LOOPBACK,
    ) -> None:
        self.port = port or free_port()
        self.address = address
        self.default = default
        self.callbacks: list[Callback] = []
        self._script = list(script)
        self._lock = threading.Lock()
        self._answering = threading.Event()
        self._answering.set()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}/api/backend/upload_finished"

    def start(self) -> Self:
        assert self._server is None, "already started"
        self._server = _Server((LOOPBACK if self.address == LOOPBACK else "", self.port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="app-stub", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Refuse connections from now on; whoever still waits for an answer gets it."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server and thread:
            server.shutdown()
            thread.join()
            self._answering.set()
            server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def answer_next(self, *script: Script) -> None:
        """Append to the script."""
        with self._lock:
            self._script.extend(script)

    def hold(self) -> None:
        self._answering.clear()

    def release(self) -> None:
        self._answering.set()

    def of(self, upload_id: str) -> list[Callback]:
        """The callbacks about one upload."""
        with self._lock:
            return [callback for callback in self.callbacks if callback.params.get("id") == upload_id]

    def wait_for(self, count: int = 1, upload_id: str | None = None, timeout: float = 20.0) -> list[Callback]:
        """Wait until at least `count` callbacks came (about `upload_id`, if given) and return them."""

        def came() -> list[Callback]:
            found = self.of(upload_id) if upload_id is not None else list(self.callbacks)
            return found if len(found) >= count else []

        return wait_until(came, f"{count} callbacks, so far {len(self.callbacks)}", timeout)

    def answer(self, callback: Callback) -> Answer:
        """Record a callback and decide what it gets. Called by the server's threads."""
        with self._lock:
            self.callbacks.append(callback)
            script = self._script.pop(0) if self._script else self.default
        self._answering.wait()
        reply = script(callback) if callable(script) else script
        if isinstance(reply, str):
            return Answer(body=reply)
        return Answer(*reply) if isinstance(reply, tuple) else reply


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], stub: AppStub) -> None:
        self.stub = stub
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A server under test that was killed in the middle of a callback is no error of the stub's."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 2
    """Seconds: a browser's spare connection, over which it never asks for anything, does not hold up the end."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urllib.parse.urlsplit(self.path)
        answer = self.server.stub.answer(
            Callback(
                method=self.command,
                path=url.path,
                query=_parse(url.query),
                params=_parse(url.query) | _parse(body.decode("utf-8", "replace")),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=body,
            )
        )
        if answer is not DROP:
            self._send(answer)

    def do_GET(self) -> None:
        self.do_POST()

    def _send(self, answer: Answer) -> None:
        content = answer.body.encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "text/plain; charset=utf-8", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Nothing: what came is in `callbacks`."""


def _parse(urlencoded: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(urlencoded, keep_blank_values=True))


class NotingApp(AppStub):
    """Notes each file while it is called about it."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[tuple[str, bytes]] = []

    def answer(self, callback: Callback) -> Answer:
        if callback.params["cancelled"] == "no":
            self.files.append((callback.params["id"], self.path_of(callback.params["filename"]).read_bytes()))
        return super().answer(callback)

    def path_of(self, filename: str) -> Path:
        """Where this application finds the file."""
        return Path(filename)
