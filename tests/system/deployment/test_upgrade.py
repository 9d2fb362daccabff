"""An upgrade: a server on the storage directory of an earlier release resumes its uploads."""

import sqlite3
import urllib.request
from pathlib import Path

import pytest

from incoming.storage.sqlite import schema
from tests.conftest import StartServer
from tests.support.app_stub import AppStub
from tests.support.old_databases import old_database

CONTENT = bytes(range(256)) * 8


TICKET = "a197b8f5-fb74-434f-9df0-9a4048b857a7"


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS)))
def test_uploads_resume_after_an_upgrade(
    version: int, tmp_path: Path, start_server: StartServer, app_stub: AppStub
) -> None:
    storage = tmp_path / "storage"
    old_database(storage, version, TICKET, CONTENT[:1000], len(CONTENT), app_stub.url)
    server = start_server("--workers", "2", storage_dir=storage)
    request = urllib.request.Request(
        f"{server.base_url}/incoming/frontend/upload/{TICKET}",
        CONTENT[1000:],
        {
            "Content-Range": f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}",
            "Content-Type": "application/octet-stream",
        },
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200
    [callback] = app_stub.wait_for(1, TICKET)
    assert Path(callback.params["filename"]).parent.parent == storage


def test_an_older_release_does_not_touch_a_newer_database(tmp_path: Path, start_server: StartServer) -> None:
    server = start_server()
    server.stop()
    database = server.storage_dir / "incoming.sqlite"
    connection = sqlite3.connect(database)
    connection.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    connection.close()
    server.expect_noise("the ticket database has version")
    with pytest.raises(AssertionError, match="this release knows up to"):
        server.start()
    assert schema.version_of(database) == len(schema.MIGRATIONS) + 1
