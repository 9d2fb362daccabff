"""What parts sent straight to an object store cost the server: `python bench/direct_cost.py [PATH]` prints it.

A client that speaks the protocol sends files of 4 KiB parts to a store in its own process, so that only the server's
CPU time is measured: that of a whole upload, and what one more part, message `sign` and message `sent` take. With PATH
the server is that of another checkout, for comparisons in turn.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cost import family
from servers import ROOT

sys.path.insert(0, str(ROOT))

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.support.app_stub import AppStub
from tests.support.incoming_server import IncomingServer
from tests.support.scripted_s3 import ACCESS_KEY, SECRET_KEY, ScriptedS3

PART = 4096
UPLOADS = 8
"""Uploads of each kind in a turn."""

TURNS = 5


@dataclass(frozen=True)
class Kind:
    """An upload of `parts`, for whose URLs `signs` messages ask, and which `reports` messages report."""

    name: str
    parts: int
    signs: int
    reports: int


WHOLE = Kind("as a page sends 1 GiB at 90 MB/s", 128, 7, 6)
KINDS = (
    WHOLE,
    Kind("with more messages", 128, 11, 9),
    Kind("one part", 1, 1, 1),
    Kind("a hundred at a time", 128, 2, 2),
    Kind("URLs one by one", 128, 128, 2),
    Kind("reports one by one", 128, 2, 128),
)


def cpu(pid: int) -> float:
    """Return the seconds for which the threads of a process and its children have run, to the nanosecond."""
    total = 0
    for member in family(pid):
        for thread in Path(f"/proc/{member}/task").glob("*/schedstat"):
            total += int(thread.read_text().split()[0])
    return total / 1e9


def batches(parts: int, count: int) -> list[list[int]]:
    """Return the numbers from 1 to `parts` in so many consecutive lists."""
    borders = [parts * index // count for index in range(count + 1)]
    return [list(range(low + 1, high + 1)) for low, high in itertools.pairwise(borders)]


class Client:
    """One upload over one WebSocket."""

    def __init__(self, server: IncomingServer, app: AppStub) -> None:
        self._server = server
        self._app = app
        self._acked: set[int] = set()
        self._urls: dict[int, str] = {}
        self._state = ""
        self._connection: WebSocketClientConnection

    async def upload(self, kind: Kind) -> None:
        """Send a whole file; return when the app has accepted it."""
        size = kind.parts * PART
        form = f"signalFinishURL={self._app.url}&destType=s3&backendSecret=secret"
        url = f"{self._server.base_url}/incoming/0.1/backend/new_upload"
        ticket = (await AsyncHTTPClient().fetch(url, method="POST", body=form)).body.decode()
        self._connection = await websocket_connect(
            f"ws://{self._server.host}/incoming/0.1/frontend/upload_ws?ticket={ticket}", subprotocols=["incoming.1"]
        )
        self._send({"type": "hello", "session": uuid.uuid4().hex, "name": "bench", "size": size})
        await self._until(lambda message: message["type"] == "welcome")
        asked = batches(kind.parts, kind.signs)
        for numbers in batches(kind.parts, kind.reports):
            while asked and asked[0][0] <= numbers[-1]:
                await self._sign(asked.pop(0))
            await asyncio.gather(*(self._put(number) for number in numbers))
            await self._report(numbers)
        await self._until(lambda _: self._state == "finished")
        self._connection.close()

    async def _sign(self, numbers: list[int]) -> None:
        self._send({"type": "sign", "parts": numbers})
        await self._until(lambda _: self._urls.keys() >= set(numbers))

    async def _put(self, number: int) -> None:
        await AsyncHTTPClient().fetch(HTTPRequest(self._urls[number], method="PUT", body=bytes(PART)))

    async def _report(self, numbers: list[int]) -> None:
        self._send({"type": "sent", "parts": numbers})
        await self._until(lambda _: self._acked.issuperset(numbers))

    def _send(self, message: object) -> None:
        self._connection.write_message(json.dumps(message))

    async def _until(self, is_over: Callable[[dict[str, Any]], bool]) -> None:
        while True:
            text = await self._connection.read_message()
            if text is None:
                raise RuntimeError(f"closed: {self._connection.close_code} {self._connection.close_reason}")
            message = json.loads(text)
            if message["type"] == "signed":
                self._urls |= dict(message["urls"])
            elif message["type"] == "ack":
                self._acked |= {start // PART + 1 for start, _ in message["chunks"]}
            elif message["type"] == "state":
                self._state = message["state"]
            elif message["type"] in ("error", "unseen"):
                raise RuntimeError(text)
            if is_over(message):
                return


def main() -> None:
    """Start store, app and server, measure in turns, and print."""
    checkouts = [Path(path).resolve() for path in sys.argv[1:]] or [ROOT]
    with tempfile.TemporaryDirectory() as directory, ScriptedS3() as store, AppStub() as app:
        servers = [start(Path(directory) / str(index), path, store, index) for index, path in enumerate(checkouts)]
        try:
            taken = asyncio.run(measure(servers, app))
        finally:
            for server in servers:
                server.kill()
    for kind in KINDS:
        for path, server in zip(checkouts, servers, strict=True):
            times = taken[kind, server]
            sys.stdout.write(
                f"{kind.name:35} {path.name:10} {statistics.median(times) * 1000:7.1f} ms "
                f"({min(times) * 1000:.1f} to {max(times) * 1000:.1f})\n"
            )


def start(directory: Path, checkout: Path, store: ScriptedS3, index: int) -> IncomingServer:
    """Return a server with one worker."""
    bucket = store.new_bucket(f"bucket-{index}", origins=("*",))
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    option = {"bucket": bucket, "endpoint": store.url, "part_size": str(PART), "direct": "true", **keys}
    return IncomingServer(
        directory, "--dest-types", "file,s3", "--object-stores=" + json.dumps({"s3": option}), "--workers", "1",
        program=(str(checkout / "incoming.py"),), env={"PYTHONWARNINGS": "ignore"},
    ).start()  # fmt: skip


async def measure(servers: list[IncomingServer], app: AppStub) -> dict[tuple[Kind, IncomingServer], list[float]]:
    """Return the seconds of one upload, by kind and server, each turn's mean."""
    taken: dict[tuple[Kind, IncomingServer], list[float]] = {(k, s): [] for k in KINDS for s in servers}
    for server in servers:
        await Client(server, app).upload(WHOLE)
    for turn in range(TURNS):
        for kind in KINDS:
            for server in servers if turn % 2 == 0 else servers[::-1]:
                before = cpu(server.pid)
                for _ in range(UPLOADS):
                    await Client(server, app).upload(kind)
                await asyncio.sleep(0.3)  # what comes after an upload
                taken[kind, server].append((cpu(server.pid) - before) / UPLOADS)
    return taken


if __name__ == "__main__":
    main()
