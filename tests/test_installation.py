"""doc/installation.md is true: its nginx configurations let in what they should and nothing else; commands exist."""

import base64
import http.client
import os
import re
import shlex
import socket
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.app_stub import AppStub, Callback
from tests.support.incoming_server import IncomingServer
from tests.support.ports import accepts_connections, free_port
from tests.support.tools import ROOT, require_tool
from tests.support.waiting import wait_until

PAGE = (ROOT / "doc" / "installation.md").read_text()
FRONTENDS = ["/incoming/0.1/frontend/", "/incoming/frontend/"]
CLOSED = [
    f"{prefix}{path}"
    for prefix in ("/incoming/0.1", "/incoming", "/incoming/", "/incoming//0.1", "/x/../incoming", "/%69ncoming")
    for path in ("/backend/new_upload", "/backend/finish_upload", "/health")
]

StartNginx = Callable[[str, int, int], int]


def configuration(variant: str, port: int, server_port: int, app_port: int) -> str:
    """The documented one, on our ports and without TLS."""
    [documented] = re.findall(rf"^<!-- test: nginx {variant} -->\n```nginx\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    text = re.sub(r"listen 443 ssl;", f"listen 127.0.0.1:{port};", documented)
    text = re.sub(r"^ *ssl_.*\n", "", text, flags=re.MULTILINE)
    return text.replace("127.0.0.1:4000", f"127.0.0.1:{server_port}").replace("127.0.0.1:8000", f"127.0.0.1:{app_port}")


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[StartNginx]:
    """Function that runs the documented variant in front of a server's and an application's port; its own port."""
    processes = []

    def start(variant: str, server_port: int, app_port: int) -> int:
        port = free_port()
        home = tmp_path / "nginx"
        home.mkdir()
        temporary = "".join(
            f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (home / "nginx.conf").write_text(
            f"pid {home}/pid; error_log {home}/error.log; daemon off; {'user root;' if os.geteuid() == 0 else ''}"
            f"events {{}} http {{ access_log off; {temporary}\n{configuration(variant, port, server_port, app_port)} }}"
        )
        command = [
            require_tool("nginx"),
            "-p",
            str(home),
            "-c",
            str(home / "nginx.conf"),
            "-e",
            str(home / "error.log"),
        ]
        processes.append(subprocess.Popen(command))
        wait_until(lambda: accepts_connections(port), "nginx to listen")
        return port

    yield start
    for process in processes:
        process.terminate()
        process.wait(20)


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


def handshake(port: int, path: str) -> str:
    """The status line that a WebSocket client gets."""
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET {path} HTTP/1.1\r\nHost: uploads.example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: incoming.1\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request.encode())
        return connection.makefile("rb").readline().decode()


@pytest.mark.promise(7, 133, 134)
@pytest.mark.parametrize("variant", ["alongside", "central"])
def test_proxy_lets_pages_in_and_nobody_to_the_backend_functions(
    start_nginx: StartNginx, server: IncomingServer, app_stub: AppStub, variant: str
) -> None:
    port = start_nginx(variant, server.port, app_stub.port)
    for frontend in FRONTENDS:
        status, library = ask(port, "GET", frontend + "incoming.js")
        assert status == 200
        assert b"incoming" in library
        ticket = new_upload(server, app_stub)
        assert handshake(port, f"{frontend}upload_ws?ticket={ticket}").startswith("HTTP/1.1 101 ")
        status, _ = ask(port, "PUT", frontend + f"upload/{ticket}", b"x" * 2_000_000)
        assert status == 200
        app_stub.wait_for(1, ticket)
    for path in CLOSED:
        for method in ("GET", "POST"):
            assert ask(port, method, path)[0] == 403, f"{method} {path}"
    before = len(app_stub.callbacks)
    [application, callback] = [ask(port, "POST", path)[0] for path in ("/", "/api/backend/upload_finished")]
    assert (application, callback) == ((200, 403) if variant == "alongside" else (403, 403))
    assert len(app_stub.callbacks) == before + (variant == "alongside")


@pytest.mark.promise(134)
def test_server_refuses_what_a_careless_proxy_passes_on(server: IncomingServer) -> None:
    status, content = ask(server.port, "POST", "/incoming/0.1/backend/new_upload", X_Forwarded_For="203.0.113.7")
    assert status == 403
    assert b"trusted_proxies" in content


@pytest.mark.promise(19)
def test_application_is_told_a_path_that_it_can_open(
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
    assert ask(server.port, "PUT", FRONTENDS[0] + f"upload/{ticket}", b"the content")[0] == 200
    [call] = app_stub.wait_for(1, ticket)
    path = Path(call.params["filename"])
    assert path.is_absolute()
    assert path.is_relative_to(tmp_path / "elsewhere")
    assert wait_until(lambda: found, "the application to read the file") == [b"the content"]


def test_applications_do_not_read_each_others_secrets(start_server: StartServer) -> None:
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
    assert 'incoming = "incoming.app:main"' in (ROOT / "pyproject.toml").read_text()
