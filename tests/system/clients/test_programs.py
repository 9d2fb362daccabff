"""curl and google-resumable-media, as doc/clients.md shows them, through a cut connection and a restart."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile
from tests.support.tools import require_tool
from tests.system.clients.ordeal import Ordeal
from tests.system.clients.snippets import snippet
from tests.system.e2e.upload_app import UploadApp


@contextmanager
def running(command: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program, which has to end well by itself after the block."""
    process = subprocess.Popen(command, env=os.environ | environment)
    try:
        yield process
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kill", [False, True], ids=["restart", "kill"])
def test_curl(ordeal: Ordeal, kill: bool) -> None:
    require_tool("curl")
    with running(["bash", "-c", snippet("curl")], FILE=str(ordeal.file.path), URL=ordeal.url):
        ordeal.inflict(kill=kill)
    ordeal.assert_survived()


def test_curl_without_any_help(server: IncomingServer, app: UploadApp, file: KnownFile) -> None:
    ticket = app.new_ticket()
    url = f"{server.base_url}/incoming/0.1/frontend/upload/{ticket}?filename=other.mp4"
    command = [require_tool("curl"), "--silent", "-o", os.devnull, "-w", "%{http_code}", "-T", str(file.path), url]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b"200"
    app.assert_received(ticket, file, "other.mp4")


@pytest.mark.parametrize("kill", [False, True], ids=["restart", "kill"])
def test_google_resumable_media(ordeal: Ordeal, tmp_path: Path, kill: bool) -> None:
    program = tmp_path / "program.py"
    program.write_text(snippet("google-resumable-media"))
    with running([sys.executable, str(program), str(ordeal.file.path), ordeal.url]):
        ordeal.inflict(kill=kill)
    ordeal.assert_survived()
