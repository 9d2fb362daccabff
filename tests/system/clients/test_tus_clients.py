"""Clients of tus, as doc/clients.md shows them, through a cut connection and a server that dies."""

import sys
from pathlib import Path

import pytest
import requests

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import make_file
from tests.support.tools import require_node_package, require_tool
from tests.system.clients.ordeal import Ordeal
from tests.system.clients.page_app import PageApp
from tests.system.clients.snippets import snippet
from tests.system.clients.test_programs import running

IETF = 'endpoint: url,\n    protocol: "ietf-draft-05",'
"""What doc/clients.md says of tus-js-client for the IETF's protocol."""


def program(name: str, directory: Path, *, ietf: bool = False) -> list[str]:
    """The command that runs a client's snippet."""
    if name == "tus-js-client":
        packages = require_node_package("tus-js-client").parent
        (directory / "node_modules").symlink_to(packages)
        path = directory / "program.mjs"
        command = [require_tool("node"), str(path)]
    else:
        path = directory / "program.py"
        command = [sys.executable, str(path)]
    text = snippet(name)
    path.write_text(text.replace("endpoint: url,", IETF) if ietf else text)
    return command


@pytest.mark.promise(3)
@pytest.mark.parametrize("client", ["tus-js-client", "tuspy", "aiotus"])
def test_a_tus_client_survives_a_kill_of_the_server(ordeal: Ordeal, client: str, tmp_path: Path) -> None:
    with running([*program(client, tmp_path), str(ordeal.file.path), ordeal.tus_url]) as process:
        ordeal.inflict(kill=True)
        assert process.wait(120) == 0
    ordeal.assert_survived()


def test_tus_js_client_speaks_the_ietfs_protocol(ordeal: Ordeal, tmp_path: Path) -> None:
    command = program("tus-js-client", tmp_path, ietf=True)
    with running([*command, str(ordeal.file.path), ordeal.url]) as process:
        ordeal.inflict(kill=True)
        assert process.wait(120) == 0
    ordeal.assert_survived()


def test_parallel_parts_of_tus_js_client_make_the_file(ordeal: Ordeal, tmp_path: Path) -> None:
    command = program("tus-js-client", tmp_path)
    with running([*command, str(ordeal.file.path), ordeal.tus_url, "3"]) as process:
        ordeal.inflict(kill=False)
        assert process.wait(120) == 0
    ordeal.assert_survived()


def test_chunks_as_filepond_sends_them_make_the_file(server: IncomingServer, app: PageApp, tmp_path: Path) -> None:
    """Its requests, as its documentation describes them; `process` is the application's."""
    file = make_file(tmp_path / "ü.bin", 100_000)
    ticket, content = app.new_ticket(fileSize=str(file.size)), file.path.read_bytes()
    url = f"{server.base_url}/incoming/0.1/frontend/tus/{ticket}"
    always = {"Tus-Resumable": "1.0.0"}
    assert requests.head(url, headers=always, timeout=20).headers["Upload-Offset"] == "0"
    for start in (0, 60_000):
        told = {"Upload-Offset": str(start), "Upload-Length": str(file.size), "Upload-Name": file.path.name.encode()}
        headers = {**always, **told, "Content-Type": "application/offset+octet-stream"}
        assert requests.patch(url, content[start : start + 60_000], headers=headers, timeout=20).ok
    app.assert_received(ticket, file)
