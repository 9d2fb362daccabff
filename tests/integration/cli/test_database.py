"""`incoming database`: tickets move from SQLite to PostgreSQL with their unfinished uploads, and faults are named."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from incoming.cli import database
from tests.support.app_stub import NotingApp
from tests.support.incoming_server import IncomingServer
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres_server import PostgresServer
from tests.support.tools import ROOT
from tests.support.waiting import wait_until

POWER = ("--workers", "1", "--durability", "power")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer(full_page_writes="off")
    yield server
    server.remove()


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "INCOMING_DURABILITY": "power", **environment}
    return subprocess.run(
        [sys.executable, str(ROOT / "incoming.py"), "database", *words],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def put(server: IncomingServer, ticket: str, content: bytes, start: int, size: int) -> int:
    return requests.put(
        f"{server.base_url}/incoming/frontend/upload/{ticket}?filename=a.bin",
        content,
        headers={"Content-Range": f"bytes {start}-{start + len(content) - 1}/{size}"},
        timeout=60,
        allow_redirects=False,
    ).status_code


def new_upload(server: IncomingServer, app: NotingApp) -> str:
    url = f"{server.base_url}/incoming/0.1/backend/new_upload"
    return requests.post(url, data={"backendSecret": "secret", "signalFinishURL": app.url}, timeout=30).text


@pytest.mark.slow
def test_an_upload_that_began_on_sqlite_ends_on_postgresql(postgres: PostgresServer, tmp_path: Path) -> None:
    storage, dsn, content = tmp_path / "storage", postgres.new_schema(), os.urandom(100_000)
    where = {"INCOMING_STORAGE_DIR": str(storage), "INCOMING_DATABASE": dsn}
    with NotingApp() as app, IncomingServer(storage, *POWER) as old:
        half, whole, untouched = (new_upload(old, app) for _ in range(3))
        assert put(old, half, content[:40_000], 0, 100_000) == 308
        assert put(old, whole, content, 0, 100_000) == 200
        wait_until(lambda: [content] == [received for _, received in app.files], "the first file to be handed over")

        running = command("copy", **where)
        assert (running.returncode, running.stderr.count("\n")) == (1, 1)
        assert "the ticket database is in use: stop the server first" in running.stderr
        assert old.stop() == 0

        copied = command("copy", **where)
        assert copied.returncode == 0, copied.stderr
        assert "3 tickets are in postgresql://incoming@127.0.0.1" in copied.stdout

        with IncomingServer(storage, *POWER, env={"INCOMING_DATABASE": dsn}) as new:
            shown = requests.get(f"{new.base_url}/incoming/frontend/upload/{half}", timeout=30).json()
            assert shown["extents"] == [[0, 40_000]]
            assert put(new, half, content[40_000:], 40_000, 100_000) == 200
            assert put(new, untouched, content, 0, 100_000) == 200
            wait_until(lambda: len(app.files) == 3, "the other files to be handed over")
            assert [received for _, received in app.files] == [content] * 3
            state = requests.get(f"{new.base_url}/incoming/frontend/upload/{whole}", timeout=30).json()["state"]
            assert state == "finished"
            metrics = requests.get(f"{new.base_url}/incoming/metrics", timeout=30).text
            assert 'incoming_uploads{state="finished"} 3.0' in metrics
            new.assert_quiet()

    again = command("copy", **where)
    assert again.returncode == 1
    assert "the tickets were copied to postgresql://incoming@127.0.0.1" in again.stderr
    left = IncomingServer(storage, *POWER)
    left._launch()
    assert left.wait() == 1
    assert "set `database`; see doc/scaling.md to go back" in left.log


def test_a_database_with_tickets_is_not_written_to(postgres: PostgresServer, tmp_path: Path) -> None:
    dsn = postgres.new_schema()
    storage = tmp_path / "storage"
    with NotingApp() as app, IncomingServer(storage, *POWER, env={"INCOMING_DATABASE": dsn}) as server:
        new_upload(server, app)
    with NotingApp() as app, IncomingServer(storage, *POWER) as server:
        new_upload(server, app)
        server.stop()
    where = {"INCOMING_STORAGE_DIR": str(storage), "INCOMING_DATABASE": dsn}
    refused = command("copy", **where)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "it has tickets already: name an empty database or schema" in refused.stderr
    with IncomingServer(storage, *POWER):
        pass  # nothing was marked


def run(capsys: pytest.CaptureFixture[str], word: str, **environment: str) -> tuple[int, str]:
    code = database.run([word], {"INCOMING_DURABILITY": "power", **environment})
    out, err = capsys.readouterr()
    return code, out + err


def test_an_upgrade_creates_and_a_check_finds(
    postgres: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = {"INCOMING_STORAGE_DIR": str(tmp_path), "INCOMING_DATABASE": postgres.new_schema()}
    code, out = run(capsys, "check", **where)
    assert "note   it has no tables yet; a first start creates them" in out
    code, out = run(capsys, "upgrade", **where)
    assert (code, "is of this release" in out) == (0, True)
    code, out = run(capsys, "check", **where)
    assert code == 1
    assert "FAULT  full_page_writes is off\n       change: set it to on" in out  # both are off on purpose here
    assert "FAULT  fsync is off" in out
    assert out.endswith("database: 2 to change\n")
    for good in ("answers, and is the primary", "it keeps 0 tickets", "notifications arrive", "a commit takes"):
        assert good in out


def test_a_check_names_what_cannot_be_reached_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = {"INCOMING_STORAGE_DIR": str(tmp_path), "INCOMING_DATABASE": "postgresql://a:hidden@127.0.0.1:9/uploads"}
    code, out = run(capsys, "check", **where)
    assert code == 1
    assert "the ticket database postgresql://a@127.0.0.1:9/uploads cannot be used" in out
    assert "change: see that it runs and can be reached" in out
    assert "hidden" not in out


def test_a_pooler_that_is_taken_for_the_server_is_noticed(
    postgres: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = postgres.new_database()
    pooler = PgBouncer(postgres.port)
    try:
        where = {"INCOMING_STORAGE_DIR": str(tmp_path), "INCOMING_DATABASE": pooler.dsn(name)}
        for word in ("check", "upgrade"):
            code, out = run(capsys, word, **where)
            assert code == 1
            assert "it is a transaction pooler, so name the server itself in database_direct" in out
        where["INCOMING_DATABASE_DIRECT"] = postgres.database_dsn(name)
        code, out = run(capsys, "upgrade", **where)
        assert code == 0
        code, out = run(capsys, "check", **where)
        assert "notifications arrive" in out
    finally:
        pooler.remove()


def test_sqlite_is_examined_and_its_lock_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = {"INCOMING_STORAGE_DIR": str(tmp_path)}
    code, out = run(capsys, "check", **where)
    assert (code, "there is no ticket database" in out) == (0, True)
    with IncomingServer(tmp_path / "storage", "--workers", "1") as server:
        where["INCOMING_STORAGE_DIR"] = str(server.storage_dir)
        code, out = run(capsys, "check", **where)
        assert (code, "is of this release and keeps 0 tickets" in out) == (0, True)
    code, out = run(capsys, "release", **where)  # it was killed, so its lock is left
    assert "removed the lock of host" in out
    code, out = run(capsys, "release", **where)
    assert out == "no host has the ticket database\n"
    (server.storage_dir / "incoming.sqlite").write_bytes(b"no database" * 1000)
    code, out = run(capsys, "check", **where)
    assert (code, "cannot be opened" in out) == (1, True)


@pytest.mark.parametrize("word", ["copy", "upgrade"])
def test_what_cannot_be_done_is_one_line(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, word, INCOMING_STORAGE_DIR=str(tmp_path))
    assert (code, out.count("\n")) == (1, 1)
    assert "database is not set" in out or "there is no ticket database" in out
