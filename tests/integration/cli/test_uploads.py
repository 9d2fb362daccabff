"""`incoming uploads`: what an operator sees and does from a shell while the server runs, or while it does not."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from incoming.cli.upload_texts import readable_duration, readable_size, table
from incoming.storage.sqlite import schema
from tests.conftest import StartServer
from tests.support.app_stub import AppStub
from tests.support.incoming_server import IncomingServer
from tests.support.old_databases import old_database
from tests.support.stores import Stores
from tests.support.tools import ROOT
from tests.support.waiting import wait_until

NASTY = "a\nb\x1b[31m\u202egnp.exe"


def command(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command as an operator gives it."""
    line = [sys.executable, str(ROOT / "incoming.py"), "uploads", "--storage-dir", str(directory), *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, cwd=directory.parent, check=False)


def told(directory: Path, *words: str) -> str:
    done = command(directory, *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def new_ticket(server: IncomingServer, url: str) -> str:
    with urllib.request.urlopen(
        f"{server.base_url}/incoming/backend/new_upload", f"signalFinishURL={url}".encode(), timeout=20
    ) as answer:
        return str(answer.read().decode())


def put(server: IncomingServer, ticket: str, content: bytes, content_range: str) -> int:
    request = urllib.request.Request(
        f"{server.base_url}/incoming/frontend/upload/{ticket}?filename=a.bin",
        content,
        {"Content-Range": content_range, "Content-Type": "application/octet-stream"},
        method="PUT",
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as answer:
        return answer.code


def state(server: IncomingServer, ticket: str) -> dict[str, object]:
    with urllib.request.urlopen(f"{server.base_url}/incoming/frontend/upload/{ticket}", timeout=20) as answer:
        found: dict[str, object] = json.loads(answer.read())
        return found


# --- while the server runs ------------------------------------------------------------------------------------------


def test_cancelling_works_while_the_server_runs(start_server: StartServer, app_stub: AppStub) -> None:
    server = start_server("--workers", "2")
    ticket = new_ticket(server, app_stub.url)
    assert put(server, ticket, b"x" * 10, "bytes 0-9/100") == 308
    assert ticket[:8] in told(server.storage_dir, "list")
    assert "cancelled" in told(server.storage_dir, "cancel", ticket[:8], "--reason", "no room for cats")
    [callback] = app_stub.wait_for(1, ticket)
    assert "no room for cats" in str(vars(callback))
    assert state(server, ticket)["reason"] == "no room for cats"
    assert put(server, ticket, b"x", "bytes 10-10/100") == 410
    assert list(server.storage_dir.rglob("*.part")) == []
    again = command(server.storage_dir, "cancel", ticket)
    assert again.returncode == 0
    assert told(server.storage_dir, "list") == "no uploads\n"
    assert ticket[:8] in told(server.storage_dir, "list", "--state", "cancelled")


def test_retrying_works_while_the_server_runs(start_server: StartServer, app_stub: AppStub) -> None:
    server = start_server("--workers", "2", "--handover-max-backoff", "3600")
    app_stub.answer_next((403, "not today"))
    ticket = new_ticket(server, app_stub.url)
    assert put(server, ticket, b"x" * 10, "bytes 0-9/10") == 200
    wait_until(lambda: state(server, ticket)["state"] == "failed", "the refusal")
    shown = told(server.storage_dir, "show", ticket[:8])
    assert f"callback_url  {app_stub.url}\n" in shown
    assert "not today" in shown
    assert "it answered 403 Forbidden: not today" in told(server.storage_dir, "list", "--state", "failed")
    assert f"url={app_stub.url}" in server.log
    assert "failed" in told(server.storage_dir, "list")
    told(server.storage_dir, "retry", ticket[:8])
    wait_until(lambda: state(server, ticket)["state"] == "finished", "the handover")
    refused = command(server.storage_dir, "retry", ticket)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("incoming uploads: nothing to hand over: the upload is in state 'finished'")


def test_several_uploads_are_cancelled_and_retried_by_one_command(start_server: StartServer, app_stub: AppStub) -> None:
    """All are found before the first is changed; one that cannot be changed does not stop the others."""
    server = start_server("--workers", "1")
    tickets = [new_ticket(server, app_stub.url) for _ in range(3)]
    refused = command(server.storage_dir, "cancel", *tickets, "%%%%%%%%")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert {state(server, ticket)["state"] for ticket in tickets} == {"new"}
    lines = told(server.storage_dir, "cancel", *tickets[:2], tickets[0][:8], "--reason", "too many").splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[ticket[:8], "cancelled"] for ticket in tickets[:2]]
    assert put(server, tickets[2], b"x" * 10, "bytes 0-9/10") == 200
    wait_until(lambda: state(server, tickets[2])["state"] == "finished", "the handover")
    done = command(server.storage_dir, "cancel", tickets[2], tickets[1], "--json")
    assert (done.returncode, [one["id"] for one in json.loads(done.stdout)]) == (1, [tickets[1]])
    assert done.stderr.startswith(f"incoming uploads: upload {tickets[2][:8]}: ")
    refused = command(server.storage_dir, "retry", *tickets[:2])
    assert (refused.returncode, refused.stdout, len(refused.stderr.splitlines())) == (1, "", 2)


def test_a_connected_client_is_shown(start_server: StartServer, app_stub: AppStub) -> None:
    server = start_server("--workers", "2")
    ticket = new_ticket(server, app_stub.url)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"PUT /incoming/frontend/upload/{ticket}?filename=a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        connection.sendall(head.encode() + b"1234")

        def sender() -> object:
            facts = json.loads(told(server.storage_dir, "show", ticket, "--json"))
            return (facts["clients"], facts["transports"], facts["connections"]) == (["127.0.0.1"], ["http"], 1)

        wait_until(sender, "the command to see who sends")
        assert "clients       127.0.0.1\n" in told(server.storage_dir, "show", ticket)


def test_watching_prints_what_changes(start_server: StartServer, app_stub: AppStub) -> None:
    server = start_server("--handover-max-backoff", "3600")
    ticket = new_ticket(server, app_stub.url)
    assert put(server, ticket, b"x" * 10, "bytes 0-9/20") == 308
    line = [sys.executable, str(ROOT / "incoming.py"), "uploads", "--storage-dir", str(server.storage_dir)]
    watching = subprocess.Popen([*line, "watch", "--interval", "1"], stdout=subprocess.PIPE, text=True)
    try:
        assert watching.stdout is not None
        first = watching.stdout.readline()
        assert ticket[:8] in first
        assert "uploading     10 B of 20 B  a.bin" in first
        app_stub.answer_next(*[(500, "broken")] * 20)
        assert put(server, ticket, b"x" * 10, "bytes 10-19/20") == 200
        while "it answered 500" not in (news := watching.stdout.readline()):
            assert ticket[:8] in news
        assert "handing_over  20 B of 20 B  a.bin  it answered 500 Internal Server Error: broken" in news
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0
    finally:
        watching.kill()
        watching.communicate()


# --- while it does not ----------------------------------------------------------------------------------------------


async def _store(tmp_path: Path, name: str) -> str:
    stores = Stores(tmp_path)
    ticket = await stores.uploading(name=name, backend_secret="very secret")
    await stores.close()
    return ticket.id


def test_an_upload_is_shown_with_its_facts(tmp_path: Path) -> None:
    ticket = asyncio.run(_store(tmp_path, NASTY))
    shown = told(tmp_path, "show", ticket[:8])
    assert ticket in shown
    assert "very secret" not in shown
    for output in (shown, told(tmp_path, "list")):
        assert all(line.isprintable() for line in output.splitlines())
        assert "a\\nb\\x1b[31m\\u202egnp.exe" in output
    facts = json.loads(told(tmp_path, "show", ticket, "--json"))
    assert (facts["id"], facts["name"], facts["arrived"], facts["size"]) == (ticket, NASTY, 4, 8)
    [listed] = json.loads(told(tmp_path, "list", "--json"))
    assert listed["id"] == ticket


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_a_terminal_that_lacks_a_character_gets_it_escaped(encoding: str, tmp_path: Path) -> None:
    ticket = asyncio.run(_store(tmp_path, "\u0416\xe4.txt"))
    for words in (("list",), ("show", ticket[:8])):
        line = [sys.executable, str(ROOT / "incoming.py"), "uploads", "--storage-dir", str(tmp_path), *words]
        done = subprocess.run(line, capture_output=True, timeout=60, env={**os.environ, "PYTHONIOENCODING": encoding})
        assert (done.returncode, done.stderr) == (0, b"")
        assert "\u0416\xe4.txt".encode(encoding, "backslashreplace") in done.stdout


def test_a_truncated_list_is_marked(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        asyncio.run(_store(tmp_path, name))
    done = command(tmp_path, "list", "--limit", "2")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
    assert done.stderr == "incoming uploads: there are more than these 2: --limit shows more\n"
    assert command(tmp_path, "list", "--limit", "3").stderr == ""


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("show", "00000000"), 1, "there is no upload whose id begins with 00000000"),
        (("show", "0000"), 1, "give at least the first 8 characters of the id"),
        (("cancel", "%%%%%%%%"), 1, "there is no upload whose id begins with %%%%%%%%"),
    ],
)
def test_an_unknown_id_is_an_error(words: tuple[str, ...], code: int, message: str, tmp_path: Path) -> None:
    asyncio.run(_store(tmp_path, "a"))
    done = command(tmp_path, *words)
    assert (done.returncode, done.stderr, done.stdout) == (code, f"incoming uploads: {message}\n", "")


def test_uploads_are_searched_and_sorted(tmp_path: Path) -> None:
    for name in ("alpha.mkv", "Gamma.mkv", "beta.txt"):
        asyncio.run(_store(tmp_path, name))
    names = [line.split()[-1] for line in told(tmp_path, "list", "--search", "MKV", "--sort", "name").splitlines()]
    assert names == ["name", "alpha.mkv", "Gamma.mkv"]
    names = [line.split()[-1] for line in told(tmp_path, "list", "--sort=-name").splitlines()]
    assert names == ["name", "Gamma.mkv", "beta.txt", "alpha.mkv"]
    assert told(tmp_path, "list", "--state", "problem") == "no uploads in state problem\n"
    done = command(tmp_path, "list", "--sort", "nam")
    assert (done.returncode, done.stderr) == (
        2,
        "incoming uploads: order 'nam' is unknown; did you mean 'name'?\n",
    )


def test_show_prints_what_has_happened(tmp_path: Path) -> None:
    ticket = asyncio.run(_store(tmp_path, "a"))
    events = [line.split("  ")[1] for line in told(tmp_path, "show", ticket).split("\n\n")[1].splitlines()]
    assert events == ["created", "uploading"]


async def test_an_ambiguous_id_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = Stores(tmp_path)
    for end in "12":
        monkeypatch.setattr(
            "tests.support.stores.uuid.uuid4", lambda end=end: f"aaaaaaaa-0000-4000-8000-00000000000{end}"
        )
        await stores.new()
    await stores.close()
    done = command(tmp_path, "show", "aaaaaaaa")
    assert (done.returncode, done.stderr) == (1, "incoming uploads: several ids begin with aaaaaaaa: give more of it\n")


def test_no_database_is_made(tmp_path: Path) -> None:
    done = command(tmp_path, "list")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no ticket database in" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_another_release_is_left_alone(tmp_path: Path) -> None:
    old_database(tmp_path, 1, "a197b8f5-fb74-434f-9df0-9a4048b857a7", b"half", 8, "http://127.0.0.1:9/")
    done = command(tmp_path, "list")
    assert done.returncode == 2
    assert f"has version 1, this release uses {len(schema.MIGRATIONS)}" in done.stderr
    assert schema.version_of(tmp_path / "incoming.sqlite") == 1


@pytest.mark.parametrize(
    "words",
    [
        *((), ("destroy",), ("show",), ("--nonsense", "list")),
        *(("list", "--state", "lost"), ("list", "--limit", "0"), ("list", "--limit", "-3"), ("list", "--limit", "x")),
    ],
)
def test_unknown_commands_and_options_are_usage_errors(words: tuple[str, ...], tmp_path: Path) -> None:
    done = command(tmp_path, *words)
    assert done.returncode == 2
    assert done.stderr.startswith("incoming uploads")
    assert done.stderr.count("\n") == 1


def test_the_directory_may_be_configured(tmp_path: Path) -> None:
    ticket = asyncio.run(_store(tmp_path, "a"))
    (tmp_path / "incoming.yaml").write_text(f"storage_dir: {tmp_path}\n")
    line = [sys.executable, str(ROOT / "incoming.py"), "uploads", "--config", str(tmp_path / "incoming.yaml"), "list"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    assert ticket[:8] in done.stdout


# --- what is printed ------------------------------------------------------------------------------------------------


def test_columns_are_aligned() -> None:
    assert list(table([("a", "bb", "c"), ("aaa", "b", "a long one")])) == ["a    bb  c", "aaa  b   a long one"]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1023 * 1024, "1023 KiB"),
        (1024**2, "1 MiB"),
        (5 * 1024**3 + 1, "5 GiB"),
        (2000 * 1024**4, "2000 TiB"),
    ],
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert readable_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (-5, "0 s"), (59.4, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90000, "1 d 1 h")],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert readable_duration(seconds) == text
