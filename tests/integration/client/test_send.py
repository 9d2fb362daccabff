"""`incoming send` against a real server and an application: every fault costs time, and no byte."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from incoming.client import Tickets
from tests.conftest import StartProxy
from tests.integration.client.sender import Application, Sender, finish, kill, wait_for
from tests.support.app_stub import Answer, AppStub, Callback, Reply
from tests.support.fault_proxy import TO_SERVER, FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file, sha256_of
from tests.support.ports import free_port
from tests.support.tools import ROOT

MB = 1_000_000


@pytest.fixture
def app(app_stub: AppStub, server: IncomingServer) -> Application:
    return Application(app_stub, server)


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Sender]:
    sender = Sender(tmp_path / "state")
    yield sender
    sender.stop()


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "film ü.bin", 6 * MB)


def fraction_sent(proxy: FaultProxy, fraction: float, file: KnownFile) -> bool:
    return proxy.counters.bytes_to_server > fraction * file.size


# --- one file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["auto", "http"])
def test_a_file_is_sent_and_the_application_has_it(
    app: Application, sender: Sender, file: KnownFile, transport: str
) -> None:
    result = sender.run("--transport", transport, file.path, app.upload_url())
    assert result.code == 0, result.errors
    assert app.received == [("film ü.bin", file.sha256)]
    assert result.transports() == {"http" if transport == "http" else "websocket"}
    assert result.lines[-1] == {
        "type": "result",
        "file": str(file.path),
        "code": 0,
        "reason": "",
        "ticket": app.tickets[0],
        "sent_before": False,
    }
    assert sender.remembered() == []


def test_a_kill_and_restart_of_the_server_is_survived(
    app: Application, sender: Sender, file: KnownFile, server: IncomingServer, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(server.port)
    proxy.limit(3 * MB, TO_SERVER)
    running = sender.start(file.path, app.upload_url(proxy.base_url))
    wait_for(lambda: fraction_sent(proxy, 0.4, file), "a part of the file to go out", running)
    server.restart(kill=True)
    proxy.limit(None)
    result = finish(running)
    assert result.code == 0, result.reason
    assert "retrying" in {line.get("state") for line in result.lines}
    assert app.received == [("film ü.bin", file.sha256)]


def test_a_killed_client_continues_when_it_is_run_again(
    app: Application, sender: Sender, file: KnownFile, server: IncomingServer, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(server.port)
    proxy.limit(2 * MB, TO_SERVER)
    arguments = ("--ticket-url", app.ticket_url, file.path, proxy.base_url)
    running = sender.start(*arguments)
    wait_for(lambda: fraction_sent(proxy, 0.6, file), "most of the file to go out", running)
    kill(running)
    assert len(sender.remembered()) == 1
    sent = proxy.counters.bytes_to_server
    proxy.limit(None)
    result = sender.run(*arguments)
    assert result.code == 0, result.reason
    assert app.received == [("film ü.bin", file.sha256)]
    assert len(app.tickets) == 1, "the same upload"
    assert proxy.counters.bytes_to_server - sent < 0.8 * file.size, "what had arrived was not sent again"
    assert sender.remembered() == []


def test_repeated_cuts_of_the_connection_are_survived(
    app: Application, sender: Sender, file: KnownFile, server: IncomingServer, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(server.port)
    proxy.reset_after(1 * MB, TO_SERVER, times=4)
    result = sender.run(file.path, app.upload_url(proxy.base_url))
    assert result.code == 0, result.reason
    assert proxy.counters.reset == 4
    assert app.received == [("film ü.bin", file.sha256)]


def test_http_is_used_where_websockets_are_blocked(
    app: Application, sender: Sender, file: KnownFile, server: IncomingServer, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(server.port)
    proxy.strip_upgrade()
    result = sender.run(file.path, app.upload_url(proxy.base_url))
    assert result.code == 0, result.reason
    assert proxy.counters.upgrades_stripped >= 1
    assert result.transports() == {"http"}
    assert app.received == [("film ü.bin", file.sha256)]


# --- a file that changes ----------------------------------------------------------------------------------------------


def test_a_file_that_has_changed_since_an_earlier_run_is_not_mixed(
    app: Application, sender: Sender, file: KnownFile, server: IncomingServer, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(server.port)
    proxy.limit(2 * MB, TO_SERVER)
    arguments = ("--ticket-url", app.ticket_url, file.path, proxy.base_url)
    running = sender.start(*arguments)
    wait_for(lambda: fraction_sent(proxy, 0.3, file), "a part of the file to go out", running)
    kill(running)
    proxy.limit(None)
    changed = make_file(file.path, file.size, seed=2)
    result = sender.run(*arguments)
    assert (result.code, app.received) == (5, [])
    assert result.reason.endswith("has changed since its upload began; --restart begins anew")
    assert sender.run("--restart", *arguments).code == 0
    assert app.received == [("film ü.bin", changed.sha256)]


def test_a_file_that_is_written_to_while_it_is_sent_never_arrives(
    app: Application, sender: Sender, file: KnownFile, server: IncomingServer, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(server.port)
    proxy.limit(2 * MB, TO_SERVER)
    running = sender.start(file.path, app.upload_url(proxy.base_url))
    wait_for(lambda: fraction_sent(proxy, 0.3, file), "a part of the file to go out", running)
    with file.path.open("r+b") as changed:
        changed.write(b"changed")
    result = finish(running)
    assert (result.code, app.received) == (5, [])
    assert "was changed while it was sent; get a new ticket" in result.reason


def test_another_file_for_a_ticket_that_has_bytes_is_refused_by_the_server(
    app: Application, sender: Sender, file: KnownFile, server: IncomingServer, start_proxy: StartProxy, tmp_path: Path
) -> None:
    proxy = start_proxy(server.port)
    proxy.limit(2 * MB, TO_SERVER)
    url = app.upload_url(proxy.base_url)
    running = sender.start(file.path, url)
    wait_for(lambda: fraction_sent(proxy, 0.3, file), "a part of the file to go out", running)
    kill(running)
    result = sender.run(make_file(tmp_path / "other", file.size, seed=3).path, url)
    assert (result.code, app.received) == (5, [])
    assert "not the file that this upload was begun with" in result.reason


# --- the application --------------------------------------------------------------------------------------------------


def test_a_refusal_by_the_application_is_final(app: Application, sender: Sender, file: KnownFile) -> None:
    app.verdicts = ["refuse: not a film"]
    result = sender.run("--ticket-url", app.ticket_url, file.path, app.server.base_url)
    assert (result.code, result.reason) == (4, "the application did not take the file: not a film")
    assert sender.remembered() == []


def test_an_unavailable_application_is_waited_for(app: Application, sender: Sender, file: KnownFile) -> None:
    app.verdicts = [Answer(503, "later"), Answer(503, "later")]
    result = sender.run(file.path, app.upload_url())
    assert result.code == 0
    assert "the site has trouble taking it" in result.notes()
    assert app.received == [("film ü.bin", file.sha256)]


def test_an_upload_that_the_application_cancels_ends(
    app: Application, sender: Sender, file: KnownFile, server: IncomingServer, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(server.port)
    proxy.limit(2 * MB, TO_SERVER)
    running = sender.start(file.path, app.upload_url(proxy.base_url))
    wait_for(lambda: fraction_sent(proxy, 0.3, file), "a part of the file to go out", running)
    Tickets(server.base_url).cancel(app.tickets[0])
    result = finish(running)
    assert (result.code, app.received) == (4, [])


def test_an_expired_upload_is_started_again(
    app: Application, sender: Sender, file: KnownFile, server: IncomingServer, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(server.port)
    proxy.limit(2 * MB, TO_SERVER)
    arguments = ("--ticket-url", app.ticket_url, file.path, proxy.base_url)
    running = sender.start(*arguments)
    wait_for(lambda: fraction_sent(proxy, 0.3, file), "a part of the file to go out", running)
    kill(running)
    Tickets(server.base_url).cancel(app.tickets[0])
    proxy.limit(None)
    assert sender.run(*arguments).code == 0
    assert len(app.tickets) == 2
    assert app.received == [("film ü.bin", file.sha256)]


# --- when it ends -----------------------------------------------------------------------------------------------------


def test_an_unreachable_server_ends_the_run_in_time_with_a_temporary_failure(
    app: Application, sender: Sender, file: KnownFile
) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    result = sender.run("--give-up-after", "0.5", file.path, app.upload_url(away))
    assert result.code == 3
    assert result.reason.endswith("run the same command again to continue")
    result = sender.run("--give-up-after", "0.5", "--ticket-url", f"{away}/ticket", file.path, app.server.base_url)
    assert (result.code, f"{away}/ticket does not answer" in result.reason) == (3, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_in_order(
    app: Application, sender: Sender, file: KnownFile, server: IncomingServer, start_proxy: StartProxy, number: int
) -> None:
    proxy = start_proxy(server.port)
    proxy.limit(1 * MB, TO_SERVER)
    running = sender.start(file.path, app.upload_url(proxy.base_url))
    wait_for(lambda: fraction_sent(proxy, 0.1, file), "a part of the file to go out", running)
    running.send_signal(number)
    result = finish(running)
    assert result.code == 3
    assert "interrupted; run the same command again to continue" in result.errors


def test_a_url_that_is_no_server_is_reported(app: Application, sender: Sender, file: KnownFile) -> None:
    app.stub.default = Answer(404, "<html>nothing here</html>")
    url = f"http://127.0.0.1:{app.stub.port}/incoming/0.1/frontend/upload/1b2c3d4e-0000-4000-8000-000000000000"
    result = sender.run("--transport", "http", file.path, url)
    assert result.code == 4
    assert "no answer of an Incoming!! server: HTTP status 404" in result.reason


def test_two_runs_at_once_do_not_send_the_same_files(
    app: Application, sender: Sender, file: KnownFile, server: IncomingServer, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(server.port)
    proxy.limit(1 * MB, TO_SERVER)
    arguments = ("--ticket-url", app.ticket_url, file.path, proxy.base_url)
    running = sender.start(*arguments)
    wait_for(lambda: fraction_sent(proxy, 0.1, file), "a part of the file to go out", running)
    proxy.stall(TO_SERVER)
    second = sender.run(*arguments)
    assert second.code == 3
    assert "another process sends the same files" in second.errors
    kill(running)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(app: Application, tmp_path: Path) -> None:
    """Sparse files, so that only the server's disk is filled: the peak of the process's resident memory, in bytes."""
    program = (
        "import resource, sys; from incoming.cli.main import main; code = main(sys.argv[1:]); "
        "print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    peaks = []
    for size in (16 * MB, 400 * MB):
        file = tmp_path / f"sparse-{size}"
        file.touch()
        os.truncate(file, size)
        arguments = ["send", "--progress", "none", "--state-dir", str(tmp_path / "state"), str(file), app.upload_url()]
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
        code, peak = map(int, done.stdout.split())
        assert (code, app.received[-1]) == (0, (file.name, sha256_of(file))), done.stderr
        peaks.append(peak)
    small, large = peaks
    assert large - small < 48 * MB, peaks


# --- several files ----------------------------------------------------------------------------------------------------


def test_a_directory_tree_is_sent_and_continued_where_it_was(
    app: Application, sender: Sender, tmp_path: Path, server: IncomingServer, start_proxy: StartProxy
) -> None:
    tree = tmp_path / "tree"
    (tree / "b" / "c").mkdir(parents=True)
    files = [make_file(tree / name, size, seed) for seed, (name, size) in enumerate({"a": 9, "b/c/d": 0}.items())]
    large = make_file(tree / "b" / "large", 4 * MB)
    (tree / "link").symlink_to("/etc/passwd")
    os.mkfifo(tree / "pipe")
    proxy = start_proxy(server.port)
    proxy.limit(1 * MB, TO_SERVER)
    arguments = ("--metadata", "album=a=b", "--ticket-url", app.ticket_url, tree, proxy.base_url)
    running = sender.start(*arguments)
    wait_for(lambda: fraction_sent(proxy, 0.3, large), "the large file to be sent", running)
    kill(running)
    assert [wanted["path"] for wanted in app.wanted] == ["a", "b/large"]
    proxy.limit(None)
    result = sender.run(*arguments)
    assert result.code == 0, result.errors
    assert [(Path(line["file"]).name, line["sent_before"]) for line in result.results] == [
        ("a", True),
        ("large", False),
        ("d", False),
    ]
    assert app.received == [("a", files[0].sha256), ("large", large.sha256), ("d", files[1].sha256)]
    assert app.wanted[0] == {"filename": "a", "path": "a", "size": "9", "metadata": '{"album": "a=b"}'}
    assert "link is no regular file" in result.errors
    assert "pipe is no regular file" in result.errors


def test_files_are_sent_at_the_same_time_and_each_once(app: Application, sender: Sender, tmp_path: Path) -> None:
    """The application answers none before it has all three; the fourth waits, and the first is named twice."""
    files = [make_file(tmp_path / name, 100_000, seed) for seed, name in enumerate("abcd")]
    together = threading.Barrier(3, timeout=60)

    def meet(call: Callback) -> Reply:
        together.wait()
        return app.take(call)

    app.verdicts = [meet, meet, meet]
    paths = [file.path for file in files]
    arguments = ("--parallel", "3", "--ticket-url", app.ticket_url, paths[0], *paths, app.server.base_url)
    result = sender.run(*arguments)
    assert result.code == 0, result.errors
    assert sorted(app.received) == [(file.path.name, file.sha256) for file in files]
    assert sum(line["sent_before"] for line in result.results) == 1
    assert sender.remembered() == []


def test_files_share_connections(
    app: Application, sender: Sender, tmp_path: Path, server: IncomingServer, start_proxy: StartProxy
) -> None:
    """Over TLS each would cost two round trips."""
    files = [make_file(tmp_path / str(seed), 100, seed) for seed in range(8)]
    proxy = start_proxy(server.port)
    arguments = ("--transport", "http", "--ticket-url", app.ticket_url, *(file.path for file in files), proxy.base_url)
    result = sender.run(*arguments)
    assert result.code == 0, result.errors
    assert len(app.received) == 8
    assert proxy.counters.accepted <= 3


def test_a_signal_ends_all_that_are_sent_at_the_same_time(
    app: Application, sender: Sender, tmp_path: Path, server: IncomingServer, start_proxy: StartProxy
) -> None:
    files = [make_file(tmp_path / name, 2 * MB, seed) for seed, name in enumerate("ab")]
    proxy = start_proxy(server.port)
    proxy.limit(1 * MB, TO_SERVER)
    arguments = ("--parallel", "2", "--ticket-url", app.ticket_url, *(file.path for file in files), proxy.base_url)
    running = sender.start(*arguments)
    wait_for(lambda: fraction_sent(proxy, 0.3, files[0]), "a part of the files to go out", running)
    proxy.stall(TO_SERVER)
    running.send_signal(signal.SIGTERM)
    assert finish(running).code == 3
    proxy.resume(TO_SERVER)
    proxy.limit(None)
    assert sender.run(*arguments).code == 0
    assert sorted(app.received) == [(file.path.name, file.sha256) for file in files]


def test_an_unreadable_directory_is_a_failure(
    app: Application, sender: Sender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the directory is one whose path is too long to be opened."""
    tree = tmp_path / "tree"
    tree.mkdir()
    file = make_file(tree / "a", 9)
    monkeypatch.chdir(tree)
    for _ in range(20):
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)
    result = sender.run("--ticket-url", app.ticket_url, tree, app.server.base_url)
    assert result.code == 2
    assert app.received == [("a", file.sha256)]
    assert any("File name too long" in line["reason"] for line in result.results)


def test_one_refused_file_does_not_hold_up_the_others(app: Application, sender: Sender, tmp_path: Path) -> None:
    files = [make_file(tmp_path / name, 100, seed) for seed, name in enumerate("abc")]
    app.verdicts = ["refuse: not this one"]
    result = sender.run("--ticket-url", app.ticket_url, *(file.path for file in files), app.server.base_url)
    assert result.code == 4
    assert [line["code"] for line in result.results] == [4, 0, 0]
    assert [name for name, _ in app.received] == ["b", "c"]


def test_a_command_can_provide_tickets(app: Application, sender: Sender, file: KnownFile, tmp_path: Path) -> None:
    script = tmp_path / "ticket.sh"
    script.write_text(f'#!/bin/sh\nprintf "%s %s\\n" "$INCOMING_NAME" "$INCOMING_SIZE" >&2\necho {app.new_ticket()}\n')
    script.chmod(0o755)
    result = sender.run("--ticket-from", str(script), file.path, app.server.base_url)
    assert result.code == 0, result.errors
    assert f"film ü.bin {file.size}" in result.errors
    assert app.received == [("film ü.bin", file.sha256)]
    result = sender.run("--give-up-after", "0", "--ticket-from", "false", file.path, app.server.base_url)
    assert (result.code, "'false' ended with code 1" in result.reason) == (3, True)


# --- a pipe -----------------------------------------------------------------------------------------------------------


def test_a_pipe_of_unknown_length_is_sent(app: Application, sender: Sender, tmp_path: Path) -> None:
    file = make_file(tmp_path / "piped", 9 * MB)
    with subprocess.Popen(["cat", file.path], stdout=subprocess.PIPE) as cat:
        result = sender.run("--name", "dump.sql", "-", app.upload_url(), stdin=cat.stdout)
    assert result.code == 0, result.errors
    assert app.received == [("dump.sql", file.sha256)]


@pytest.fixture
def half_piped(
    app: Application, sender: Sender, tmp_path: Path, server: IncomingServer, start_proxy: StartProxy
) -> tuple[list[str], KnownFile, FaultProxy]:
    """A run that was killed when more than a piece of its pipe had arrived: its arguments, and what came."""
    file = make_file(tmp_path / "piped", 20 * MB)
    proxy = start_proxy(server.port)
    proxy.limit(10 * MB, TO_SERVER)
    arguments = ["-", app.upload_url(proxy.base_url)]
    with file.path.open("rb") as stream:
        running = sender.start(*arguments, stdin=stream)
        wait_for(lambda: fraction_sent(proxy, 0.6, file), "pieces to go out", running)
        kill(running)
    proxy.limit(None)
    return arguments, file, proxy


def test_the_same_pipe_resumes_after_a_kill_and_another_one_is_refused(
    app: Application, sender: Sender, half_piped: tuple[list[str], KnownFile, FaultProxy], tmp_path: Path
) -> None:
    arguments, file, proxy = half_piped
    for other in (make_file(tmp_path / "other", file.size, seed=5), make_file(tmp_path / "short", 1 * MB)):
        with other.path.open("rb") as stream:
            result = sender.run(*arguments, stdin=stream)
        assert (result.code, app.received) == (5, [])
    sent = proxy.counters.bytes_to_server
    with file.path.open("rb") as stream:
        result = sender.run(*arguments, stdin=stream)
    assert result.code == 0, result.reason
    assert app.received == [("stdin", file.sha256)]
    assert proxy.counters.bytes_to_server - sent < file.size


def test_a_pipe_survives_a_restart_of_the_server(
    app: Application, sender: Sender, tmp_path: Path, server: IncomingServer, start_proxy: StartProxy
) -> None:
    file = make_file(tmp_path / "piped", 20 * MB)
    proxy = start_proxy(server.port)
    proxy.limit(10 * MB, TO_SERVER)
    with file.path.open("rb") as stream:
        running = sender.start("-", app.upload_url(proxy.base_url), stdin=stream)
        wait_for(lambda: fraction_sent(proxy, 0.5, file), "a part to go out", running)
        server.restart(kill=True)
        proxy.limit(None)
        result = finish(running)
    assert result.code == 0, result.reason
    assert app.received == [("stdin", file.sha256)]
