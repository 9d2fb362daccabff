"""The browser's library in Node: a program that sends a file with it."""

import subprocess
from pathlib import Path

import pytest

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import make_file
from tests.support.tools import ROOT, require_tool
from tests.system.e2e.upload_app import UploadApp

PROGRAM = ROOT / "tests" / "system" / "clients" / "upload.mjs"
LIBRARY = ROOT / "incoming" / "js" / "dist" / "incoming.mjs"


@pytest.mark.parametrize("without", ["", "WebSocket"])
def test_node_uploads_a_file_with_the_library(without: str, tmp_path: Path) -> None:
    """Over a WebSocket where Node has one, and over HTTP by fetch where not."""
    file = make_file(tmp_path / "film.bin", (3 << 20) + 7)
    node = [require_tool("node"), "--no-warnings", "--experimental-websocket"]
    if without:
        node += ["--import", "data:text/javascript,delete globalThis.WebSocket"]
    with IncomingServer(tmp_path / "storage") as server, UploadApp(server.base_url) as app:
        ticket = app.new_ticket()
        program = [*node, str(PROGRAM), LIBRARY.as_uri(), f"http://{server.host}", ticket, str(file.path)]
        done = subprocess.run(program, capture_output=True, text=True, timeout=60)
        assert (done.stderr, done.returncode) == ("", 0)
        transport, state = done.stdout.split()
        assert (transport, state) == ("http" if without else "websocket", "finished")
        app.assert_received(ticket, file)
