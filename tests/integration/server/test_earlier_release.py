"""An upgrade: a server of this release on the storage directory that one of an earlier release left behind.

The directory is that of a server of release 45ed614 that was killed with uploads in every state; see storage.sql.
"""

import asyncio
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from incoming.core.extents import Extents
from incoming.storage.sqlite.schema import MIGRATIONS, version_of
from incoming.storage.ticket_row import unpack
from tests.support.app_stub import AppStub, NotingApp
from tests.support.incoming_server import IncomingServer
from tests.support.raw_websocket import RawWebSocket, chunk, hello
from tests.support.tools import ROOT
from tests.support.waiting import wait_until

RELEASE = ROOT / "tests" / "vectors" / "release-45ed614"
STORAGE = (RELEASE / "storage.sql").read_text()
UPLOADS = {name: ticket_id for ticket_id, name in re.findall(r"(?m)^--   (\S+) (\S+)$", STORAGE)}


def content(start: int, end: int) -> bytes:
    """These bytes of each of its files."""
    return bytes((number * number + 7 * number + 13) % 251 for number in range(start, end))


def leave_behind(directory: Path, app: AppStub) -> None:
    """Make the storage directory: the database, the partial files and those that the app has not taken yet."""
    directory.mkdir()
    database = sqlite3.connect(directory / "incoming.sqlite")
    database.executescript(STORAGE.replace("@STORAGE@", str(directory)).replace("@APP@", app.url.rstrip("/")))
    rows = database.execute("SELECT id, state, extents FROM tickets").fetchall()
    database.close()
    for ticket_id, state, extents in rows:
        if state in ("new", "finished", "cancelled"):
            continue
        path = directory / ticket_id[:2] / (f"{ticket_id}.part" if state == "uploading" else ticket_id)
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            for start, end in unpack(extents):
                file.seek(start)
                file.write(content(start, end))


class Upgraded:
    """A server of this release on that directory, and the app that its uploads belong to."""

    def __init__(self, server: IncomingServer, app: NotingApp) -> None:
        self.server = server
        self.app = app

    def status(self, name: str) -> dict[str, Any]:
        url = f"{self.server.base_url}/incoming/frontend/upload/{UPLOADS[name]}"
        answer: dict[str, Any] = requests.get(url, timeout=20).json()
        return answer

    def put(self, name: str, start: int, end: int, size: int) -> int:
        answer = requests.put(
            f"{self.server.base_url}/incoming/frontend/upload/{UPLOADS[name]}?filename=a.bin",
            content(start, end),
            headers={"Content-Range": f"bytes {start}-{end - 1}/{size}"},
            timeout=20,
            allow_redirects=False,
        )
        return answer.status_code

    def reaches(self, name: str, state: str) -> None:
        wait_until(lambda: self.status(name)["state"] == state, f"the upload '{name}' to be {state}")

    def received(self, name: str) -> list[bytes]:
        """The whole files that the app was called for."""
        return [file for ticket_id, file in self.app.files if ticket_id == UPLOADS[name]]


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    directory = tmp_path_factory.mktemp("upgrade") / "storage"
    with NotingApp() as app:
        leave_behind(directory, app)
        assert version_of(directory / "incoming.sqlite") == 3
        with IncomingServer(directory, "--workers", "1") as server:
            yield Upgraded(server, app)
        server.assert_quiet()
    assert version_of(directory / "incoming.sqlite") == len(MIGRATIONS)


def test_no_stored_byte_is_requested_again(upgraded: Upgraded) -> None:
    arrived = {name: Extents((a, b) for a, b in upgraded.status(name)["extents"]) for name in ("put", "websocket")}
    assert arrived == {"put": Extents([(0, 1000), (2000, 3000)]), "websocket": Extents([(500, 2500)])}
    assert (upgraded.status("paused")["paused"], upgraded.status("paused")["arrived"]) == (True, 700)


def test_an_upload_by_put_continues(upgraded: Upgraded) -> None:
    assert upgraded.put("put", 1000, 2000, 5000) == 308
    assert upgraded.put("put", 3000, 5000, 5000) == 200
    upgraded.reaches("put", "finished")
    assert upgraded.received("put") == [content(0, 5000)]


def test_a_session_over_websockets_continues_in_its_epoch(upgraded: Upgraded) -> None:
    async def go_on() -> None:
        socket = await RawWebSocket.open(upgraded.server.port, UPLOADS["websocket"])
        known = {"last_modified": 1700000000000, "fingerprint": "f-1", "media_type": "application/octet-stream"}
        await socket.send(hello(5000, "session-websocket", epoch=1, **{**known, "name": "b.bin"}))
        welcome = await socket.hear("welcome")
        assert (welcome["epoch"], welcome["extents"]) == (1, [[500, 2500]])
        await socket.send(chunk(0, content(0, 500)), chunk(2500, content(2500, 5000)))
        assert (await socket.hear("state"))["state"] in ("arrived", "handing_over")
        socket.close()

    asyncio.run(go_on())
    upgraded.reaches("websocket", "finished")
    assert upgraded.received("websocket") == [content(0, 5000)]


def test_a_paused_upload_is_resumed_by_another_session(upgraded: Upgraded) -> None:
    async def go_on() -> None:
        socket = await RawWebSocket.open(upgraded.server.port, UPLOADS["paused"])
        await socket.send(hello(5000, "session-later", name="b.bin", fingerprint="f-1", last_modified=1700000000000))
        welcome = await socket.hear("welcome")
        assert (welcome["epoch"], welcome["extents"]) == (2, [[0, 700]])
        await socket.send(chunk(700, content(700, 5000)))
        assert (await socket.hear("state"))["state"] in ("arrived", "handing_over")
        socket.close()

    asyncio.run(go_on())
    upgraded.reaches("paused", "finished")
    assert upgraded.received("paused") == [content(0, 5000)]


def test_an_unused_ticket_takes_its_file(upgraded: Upgraded) -> None:
    assert upgraded.put("new", 0, 400, 400) == 200
    upgraded.reaches("new", "finished")
    assert upgraded.received("new") == [content(0, 400)]


def test_callbacks_that_were_owed_are_made(upgraded: Upgraded) -> None:
    upgraded.reaches("handing_over", "finished")
    assert upgraded.received("handing_over") == [content(0, 300)]
    [handover] = upgraded.app.of(UPLOADS["handing_over"])
    assert handover.headers["incoming-attempt"] == "5"  # of the same delivery
    wait_until(lambda: upgraded.app.of(UPLOADS["cancelled"]), "the notice of the cancellation")
    [notice] = upgraded.app.of(UPLOADS["cancelled"])
    assert notice.params["cancelled"] == "yes"


def test_an_app_that_had_answered_wait_finishes(upgraded: Upgraded) -> None:
    answer = requests.post(
        f"{upgraded.server.base_url}/incoming/0.1/backend/finish_upload",
        data={"id": UPLOADS["waiting"], "backendSecret": "secret"},
        timeout=20,
    )
    assert (answer.status_code, answer.text) == (200, "ok")
    assert upgraded.status("waiting")["state"] == "finished"


def test_a_failed_handover_can_be_retried(upgraded: Upgraded) -> None:
    assert upgraded.status("failed")["state"] == "failed"
    command = [sys.executable, str(ROOT / "incoming.py"), "uploads", "--storage-dir", str(upgraded.server.storage_dir)]
    retried = subprocess.run(
        [*command, "retry", UPLOADS["failed"]], capture_output=True, text=True, timeout=60, check=False
    )
    assert retried.returncode == 0, retried.stderr
    upgraded.reaches("failed", "finished")
    assert upgraded.received("failed") == [content(0, 300)]


def test_ended_uploads_keep_their_outcome(upgraded: Upgraded) -> None:
    assert upgraded.status("finished")["state"] == "finished"
    cancelled = upgraded.status("cancelled")
    assert (cancelled["state"], cancelled["reason"]) == ("cancelled", "cancelled by the client")
