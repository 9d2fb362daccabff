"""The commands for operators in doc/operations.md and doc/installation.md are run as they stand there."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.conftest import StartServer
from tests.support.app_stub import AppStub
from tests.support.incoming_server import IncomingServer
from tests.support.tools import ROOT, require_tool

PAGES = {name: (ROOT / "doc" / f"{name}.md").read_text() for name in ("operations", "installation")}

Run = Callable[[str, float], subprocess.CompletedProcess[str]]


def commands(page: str, beginning: str) -> list[str]:
    """The lines of the page's shell blocks that begin so."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(beginning)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a line in bash, where `incoming` is this one; after so many seconds as an operator who presses Ctrl-C."""
    program = tmp_path / "bin" / "incoming"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/incoming.py "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}

    def command(line: str, seconds: float) -> subprocess.CompletedProcess[str]:
        words = ["timeout", "--foreground", "-s", "INT", str(seconds), require_tool("bash"), "--norc", "-c", line]
        return subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90, check=False
        )

    return command


def uploaded(server: IncomingServer, app: AppStub, content_range: str, status: int) -> str:
    """The id of an upload of which four bytes have arrived."""
    told = {"signalFinishURL": app.url}
    ticket = requests.post(f"{server.base_url}/incoming/backend/new_upload", data=told, timeout=20).text
    url, headers = f"{server.base_url}/incoming/frontend/upload/{ticket}", {"Content-Range": content_range}
    answer = requests.put(url, b"film", params={"filename": "film.mp4"}, headers=headers, timeout=20)
    assert answer.status_code == status
    return ticket


def test_uploads_are_managed_as_the_page_says(start_server: StartServer, run: Run) -> None:
    server = start_server("--handover-max-backoff", "3600")
    with AppStub(default=(500, "broken")) as app:
        refused, begun = uploaded(server, app, "bytes 0-3/4", 200), uploaded(server, app, "bytes 0-3/100", 308)
        app.wait_for(1, refused)
        lines = commands("operations", "incoming uploads --storage-dir")
        printed: dict[str, str] = {}
        for line in lines:
            if "$ticket" in line:
                continue
            mine = line.replace("/srv/incoming", str(server.storage_dir)).replace("8c01d2aa", refused[:8])
            done = run(
                mine.replace("3ff94ebf", (refused if "retry" in line else begun)[:8]), 12 if "watch" in line else 60
            )
            assert (done.returncode, done.stderr) in ((0, ""), (124, "")), line
            printed[line.partition("/srv/incoming ")[2]] = done.stdout
    assert len(printed) == 8
    assert begun[:8] in printed["list"]
    assert printed["list --state failed --json"] == "[]\n"
    assert "it answered 500 Internal Server Error: broken" in printed["list --search film --sort size"]
    assert refused[:8] in printed["watch --state problem"]
    assert f"callback_url  {app.url}" in printed["show 3ff94ebf"]
    assert "cancelled  too large for us" in printed['cancel 3ff94ebf --reason "too large for us"']
    assert "handing_over" in printed["retry 3ff94ebf 8c01d2aa"]


def test_checks_find_what_the_page_says(server: IncomingServer, tmp_path: Path, app_stub: AppStub, run: Run) -> None:
    """The server is reached without a proxy: everybody may call what only backends may."""
    file = tmp_path / "incoming.yaml"
    file.write_text(f"storage_dir: {server.storage_dir}\nport: {server.port}\naddress: 127.0.0.1\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "secret.txt").write_text("secret\n")
    server.storage_dir.chmod(0o750)
    found: dict[str, tuple[int, str]] = {}
    for line in (*commands("operations", "incoming check"), *commands("operations", "incoming doctor")):
        mine = line.replace("/etc/incoming/incoming.yaml", str(file)).replace("/srv/app/uploads", str(tmp_path / "app"))
        mine = mine.replace("https://uploads.example.org", server.base_url)
        mine = mine.replace("https://app.example.org/api/upload_finished", app_stub.url)
        done = run(mine, 60)
        assert done.stderr == "", line
        found[" ".join(line.split()[1:3])] = (done.returncode, done.stdout)
    assert {name: code for name, (code, _) in found.items()} == {
        "check config": 0,
        "check storage": 0,
        "check proxy": 1,
        "check callback": 0,
        "doctor --config": 1,
    }
    assert "the backend functions can be called by this way" in found["check proxy"][1]
    assert "callbacks work" in found["check callback"][1]
    assert "the report is in incoming-report.txt" in found["doctor --config"][1]
    assert "DELETE gets through" in (tmp_path / "incoming-report.txt").read_text()


def test_completion_and_manual_are_installed_as_the_page_says(run: Run, tmp_path: Path) -> None:
    [completion] = commands("installation", "source <(incoming completion")
    done = run(f"{completion}\ncomplete -p incoming", 60)
    assert (done.stdout, done.stderr) == ("complete -o filenames -F _incoming incoming\n", "")
    [manual] = commands("installation", "incoming manual")
    line = manual.replace("/usr/local/share/man/man1", str(tmp_path)).partition("#")[0]
    done = run(f"{line}\n{require_tool('man')} --warnings=all -l {tmp_path}/incoming.1", 60)
    assert done.stderr == ""
    assert re.search(r"incoming\s+send\s+\[\s*options\s*\]\s+FILE\s+\.\.\.\s+URL", done.stdout)
