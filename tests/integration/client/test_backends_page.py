"""The code of doc/backends.md is run as it stands there, with other ports and directories."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from incoming.wire.callback_signature import signature
from tests.support.incoming_server import IncomingServer
from tests.support.ports import accepts_connections, free_port
from tests.support.tools import ROOT, require_tool
from tests.support.waiting import wait_until

PAGE = (ROOT / "doc" / "backends.md").read_text()
ID = "1b2c3d4e-0000-4000-8000-000000000000"


def snippet(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_application_takes_a_file(server: IncomingServer, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "uploads").mkdir()
    source = snippet("python").replace("localhost:4000", server.host).replace("/srv/app", str(tmp_path))
    source = source.replace("/srv/incoming", str(server.storage_dir)).replace("8000", str(port))
    environment = {**os.environ, "UPLOAD_SECRET": "secret", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", source], cwd=tmp_path, env=environment) as app:
        try:
            wait_until(lambda: accepts_connections(port), "the application to listen")
            ticket = requests.post(f"http://127.0.0.1:{port}/ticket", timeout=30).text
            url = f"{server.base_url}/incoming/0.1/frontend/upload/{ticket}"
            assert requests.put(f"{url}?filename=a", data=b"content", timeout=30).status_code == 200
            wait_until(lambda: requests.get(url, timeout=30).json()["state"] == "finished", "the end of the upload")
            assert (tmp_path / "uploads" / ticket).read_bytes() == b"content"
            forged = requests.post(f"http://127.0.0.1:{port}/taken", data={"id": ticket, "cancelled": "no"}, timeout=30)
            assert forged.status_code == 403
        finally:
            app.kill()


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A script of the code for Node, which calls the function that its argument names, and prints what it returns."""
    script = tmp_path / "plain.mjs"
    call = "const [name, given] = process.argv.slice(2);\nconst functions = { is_genuine, take };\n"
    call += "console.log(JSON.stringify(functions[name](...JSON.parse(given)) ?? null));\n"
    script.write_text(snippet("js") + call)
    return script


def run(script: Path, name: str, *given: object) -> subprocess.CompletedProcess[str]:
    command = [require_tool("node"), str(script), name, json.dumps(given)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_plain_code_knows_the_servers_calls(plain: Path) -> None:
    now, body = int(time.time()), "id=1&cancelled=no"
    for secret, at, believed in (("secret", now, "true"), ("wrong", now, "false"), ("secret", now - 400, "false")):
        signed = {"incoming-timestamp": str(at), "incoming-signature": signature(secret, at, body.encode())}
        assert run(plain, "is_genuine", signed, body, "secret").stdout.strip() == believed
    assert run(plain, "is_genuine", {}, body, "secret").stdout.strip() == "false"


def test_the_plain_code_takes_a_file_once_and_no_other_file(plain: Path, tmp_path: Path) -> None:
    storage, target, other = tmp_path / "storage", tmp_path / "taken", tmp_path / "private"
    storage.mkdir()
    (storage / ID).write_text("content")
    for _ in range(2):
        assert run(plain, "take", ID, str(storage / ID), str(storage), str(target)).returncode == 0
        assert target.read_text() == "content"
        assert not (storage / ID).exists()
    other.mkdir()
    (other / ID).write_text("private")
    (storage / ID).symlink_to(other / ID)
    for forged in (storage / ID, other / ID, storage / ".." / "private" / ID):
        refused = run(plain, "take", ID, str(forged), str(storage), str(tmp_path / "x"))
        assert "a path elsewhere" in refused.stderr
    assert (other / ID).read_text() == "private"


def test_the_plain_code_copies_from_another_file_system(plain: Path, tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs /dev/shm as a second file system")
    source = memory / ID
    source.write_text("content")
    try:
        target = tmp_path / "taken"
        assert run(plain, "take", ID, str(source), str(memory), str(target)).returncode == 0
        assert [path.read_text() for path in (target,)] == ["content"]
        assert not source.exists()
        assert not list(tmp_path.glob("*.part"))
    finally:
        source.unlink(missing_ok=True)
