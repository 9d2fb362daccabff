"""A release: the same bytes each time, complete, described by a valid SBOM; and its wheel serves and sends."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.parse
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from incoming import __version__
from tests.support.app_stub import AppStub
from tests.support.ports import free_port
from tests.support.tools import ROOT, require_node_package, require_tool

NAMES = {
    f"incoming-{__version__}-py3-none-any.whl",
    f"incoming-{__version__}.tar.gz",
    f"incoming-upload-{__version__}.tgz",
    f"incoming-{__version__}.cdx.json",
    f"incoming-{__version__}-notes.md",
    "SHA256SUMS",
}


def make(target: Path, **environment: str) -> dict[str, bytes]:
    require_tool("git")
    require_tool("node")
    require_node_package("esbuild")
    command = [sys.executable, str(ROOT / "tools" / "release.py"), str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=300, env={**os.environ, **environment})
    return {path.name: path.read_bytes() for path in target.iterdir()}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("release")
    make(target)
    return target


@pytest.mark.slow
def test_a_release_is_the_same_twice(release: Path, tmp_path: Path) -> None:
    """At another time of another time zone, in another directory, with another umask of the shell."""
    first = {path.name: path.read_bytes() for path in release.iterdir()}
    old = os.umask(0o077)
    try:
        second = make(tmp_path / "again", TZ="Asia/Tokyo", HOME=str(tmp_path), LC_ALL="C")
    finally:
        os.umask(old)
    assert set(first) == set(second) == NAMES
    assert [name for name in first if first[name] != second[name]] == []


def test_checksums_are_those_of_the_files(release: Path) -> None:
    lines = (release / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert set(sums) == NAMES - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((release / name).read_bytes()).hexdigest() == digest


def test_the_bill_of_materials_is_valid_and_complete(release: Path) -> None:
    text = (release / f"incoming-{__version__}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"library"', '"librarian"')) is not None
    bill = json.loads(text)
    scopes = {component["name"]: component["scope"] for component in bill["components"]}
    assert {name for name, scope in scopes.items() if scope == "required"} == {"tornado", "pyyaml"}
    assert {"aiohttp", "yarl", "asyncpg", "prometheus-client", "websockets", "rich"} <= set(scopes)
    wheel = (release / f"incoming-{__version__}-py3-none-any.whl").read_bytes()
    assert bill["metadata"]["component"]["hashes"][0]["content"] == hashlib.sha256(wheel).hexdigest()


def test_the_notes_are_the_changelogs(release: Path) -> None:
    notes = (release / f"incoming-{__version__}-notes.md").read_text()
    assert re.match(rf"# Incoming!! {re.escape(__version__)} - \d{{4}}-\d\d-\d\d\n", notes)
    assert notes.count("\n# ") == 0
    assert len(notes) > 1000


def test_archives_have_what_is_needed_and_nothing_that_lay_around(release: Path) -> None:
    with zipfile.ZipFile(release / f"incoming-{__version__}-py3-none-any.whl") as wheel:
        names = wheel.namelist()
    assert "incoming/js/dist/incoming.js" in names
    assert "incoming/handlers/operator/page/status.html" in names
    assert not [name for name in names if name.startswith("tests/") or "__pycache__" in name]
    with tarfile.open(release / f"incoming-{__version__}.tar.gz") as sdist:
        inner = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "LICENSE", "conf/incoming.yaml", "incoming/__init__.py"} <= inner
    assert not [name for name in inner if "node_modules" in name or name.startswith((".venv", "dist"))]


@pytest.mark.slow
def test_the_wheel_serves_and_sends_in_a_fresh_environment(release: Path, tmp_path: Path, app_stub: AppStub) -> None:
    """What a newcomer does: install the wheel, start the server, send a file; nothing of the source tree is used."""
    venv.create(tmp_path / "venv")
    wheel = release / f"incoming-{__version__}-py3-none-any.whl"
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-compile", f"{wheel}[client]"]
    subprocess.run(pip, check=True, timeout=300, capture_output=True, cwd=tmp_path)
    incoming = str(tmp_path / "venv" / "bin" / "incoming")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("INCOMING_", "PYTHON"))}
    assert shutil.which(incoming)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [incoming, "--port", str(port), "--address", "127.0.0.1", "--workers", "1", "--storage-dir", "files"],
            cwd=tmp_path,
            env=environment,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        form = urllib.parse.urlencode({"signalFinishURL": app_stub.url}).encode()
        with urllib.request.urlopen(f"{url}/incoming/backend/new_upload", form, timeout=30) as answer:
            ticket = answer.read().decode()
        (tmp_path / "film.bin").write_bytes(content := os.urandom(3_000_000))
        received: list[bytes] = []

        def take(call: object) -> str:
            received.append(Path(call.params["filename"]).read_bytes())  # type: ignore[attr-defined]
            return "done"

        app_stub.answer_next(take)
        command = [incoming, "send", "film.bin", f"{url}/incoming/frontend/upload/{ticket}", "--progress", "none"]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120, capture_output=True)
        assert received == [content]
        with urllib.request.urlopen(f"{url}/incoming/status/now", timeout=30) as answer:
            assert json.loads(answer.read())["version"] == __version__
        server.terminate()
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()
