"""curl and google-resumable-media, as doc/clients.md shows them, through a cut connection and a restart."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile
from tests.support.tools import require_tool
from tests.system.clients.ordeal import Ordeal
from tests.system.clients.snippets import snippet
from tests.system.e2e.upload_app import UploadApp


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The program in a process group of its own, which the block may kill; nothing of it is left after the block."""
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """As a machine does that loses power: the program and what it has started are gone at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(params=["curl", "curl-resumable-upload", "google-resumable-media"])
def command(request: pytest.FixtureRequest, ordeal: Ordeal, tmp_path: Path) -> list[str]:
    """Sends the file of the ordeal."""
    if request.param.startswith("curl"):
        require_tool("curl")
        return ["env", f"FILE={ordeal.file.path}", f"URL={ordeal.url}", "bash", "-c", snippet(request.param)]
    program = tmp_path / "program.py"
    program.write_text(snippet("google-resumable-media"))
    return [sys.executable, str(program), str(ordeal.file.path), ordeal.url]


@pytest.mark.parametrize("kill", [False, True], ids=["restart", "kill"])
def test_a_program_survives_a_restart_of_the_server(ordeal: Ordeal, command: list[str], kill: bool) -> None:
    with running(command) as process:
        ordeal.inflict(kill=kill)
        assert process.wait(120) == 0
    ordeal.assert_survived()


def test_a_killed_program_continues_where_it_was(ordeal: Ordeal, command: list[str]) -> None:
    with running(command) as process:
        ordeal.wait_for_a_good_part()
        kill(process)
    with running(command) as process:
        assert process.wait(120) == 0
    ordeal.assert_survived()
    with running(command) as process:
        assert process.wait(120) == 0, "once more is harmless"
    ordeal.assert_survived()


def test_curl_alone_uploads_a_file(server: IncomingServer, app: UploadApp, file: KnownFile) -> None:
    ticket = app.new_ticket()
    url = f"{server.base_url}/incoming/0.1/frontend/upload/{ticket}?filename=other.mp4"
    command = [require_tool("curl"), "--silent", "-o", os.devnull, "-w", "%{http_code}", "-T", str(file.path), url]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b"200"
    app.assert_received(ticket, file, "other.mp4")
