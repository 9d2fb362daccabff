"""Commands under cron and service managers: no terminal, no home, closed streams, and outputs that take nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.client.sender import Application
from tests.support.app_stub import AppStub
from tests.support.incoming_server import IncomingServer
from tests.support.tools import ROOT

INCOMING = f"{sys.executable} {ROOT}/incoming.py"


def shell(line: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """A shell line without environment, terminal and session, as cron runs it but for its PATH."""
    environment = {"XDG_STATE_HOME": str(directory / "state")}
    return subprocess.run(
        ["/bin/sh", "-c", f"exec {INCOMING} {line}"],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        start_new_session=True,
        check=False,
    )


@pytest.mark.parametrize(
    "streams",
    ["<&-", "<&- >&-", "<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>/dev/full", "--progress json >/dev/full"],
)
def test_a_file_is_sent_whatever_the_streams_are(
    streams: str, server: IncomingServer, app_stub: AppStub, tmp_path: Path
) -> None:
    app = Application(app_stub, server)
    (tmp_path / "film.mp4").write_text("film")
    done = shell(f"send film.mp4 {server.base_url} --ticket-url {app.ticket_url} {streams}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert [name for name, _ in app.received] == ["film.mp4"]


def test_closed_standard_input_is_no_empty_file(server: IncomingServer, app_stub: AppStub, tmp_path: Path) -> None:
    app = Application(app_stub, server)
    done = shell(f"send - {server.base_url} --ticket-url {app.ticket_url} <&-", tmp_path)
    assert (done.returncode, done.stderr) == (2, "incoming send: stdin is closed: there is nothing to send\n")
    assert app.received == []


def test_a_listing_that_cannot_be_printed_is_a_failure(tmp_path: Path) -> None:
    done = shell("manual >/dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (1, "incoming: cannot print: No space left on device\n")


def test_a_reader_that_has_enough_ends_a_command_quietly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, str(ROOT / "incoming.py"), "manual"]
        done = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, timeout=90, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
