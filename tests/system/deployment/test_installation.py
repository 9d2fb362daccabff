"""doc/installation.md is true of secrets, paths and services; its proxies are tested in tests/system/proxies/."""

import http.client
import re
import shlex
import urllib.parse
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.app_stub import AppStub, Callback
from tests.support.incoming_server import IncomingServer
from tests.support.tools import ROOT
from tests.support.waiting import wait_until

PAGE = (ROOT / "doc" / "installation.md").read_text()
FRONTEND = "/incoming/0.1/frontend/"


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def new_upload(server: IncomingServer, app: AppStub) -> str:
    form = urllib.parse.urlencode({"signalFinishURL": app.url}).encode()
    kind = "application/x-www-form-urlencoded"
    status, content = ask(server.port, "POST", "/incoming/0.1/backend/new_upload", form, Content_Type=kind)
    assert status == 200, content
    return content.decode()


@pytest.mark.promise(134)
def test_the_server_refuses_backend_calls_of_an_unconfigured_proxy(server: IncomingServer) -> None:
    status, content = ask(server.port, "POST", "/incoming/0.1/backend/new_upload", X_Forwarded_For="203.0.113.7")
    assert status == 403
    assert b"trusted_proxies" in content


@pytest.mark.promise(19)
def test_the_application_gets_a_path_that_it_can_open(
    start_server: StartServer, app_stub: AppStub, tmp_path: Path
) -> None:
    """Absolute, although the storage directory was given relative to the server's current directory."""
    server = start_server("--storage-dir", "elsewhere")
    found: list[bytes] = []

    def take(call: Callback) -> str:
        found.append(Path(call.params["filename"]).read_bytes())
        return "done"

    app_stub.answer_next(take)
    ticket = new_upload(server, app_stub)
    assert ask(server.port, "PUT", f"{FRONTEND}upload/{ticket}", b"the content")[0] == 200
    [call] = app_stub.wait_for(1, ticket)
    path = Path(call.params["filename"])
    assert path.is_absolute()
    assert path.is_relative_to(tmp_path / "elsewhere")
    assert wait_until(lambda: found, "the application to read the file") == [b"the content"]


def test_only_the_server_can_read_the_database(start_server: StartServer) -> None:
    server = start_server("--file-mode", "0660", "--dir-mode", "0770")
    files = list(server.storage_dir.glob("incoming.sqlite*"))
    assert files
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_unit_for_systemd_starts_the_command_that_is_installed() -> None:
    unit = (ROOT / "conf" / "systemd" / "incoming.service").read_text()
    [command] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    program, *options = shlex.split(command)
    assert program == "/opt/incoming/bin/incoming"
    assert options[0] == "--config"
    assert 'incoming = "incoming.cli.main:main"' in (ROOT / "pyproject.toml").read_text()
