"""The commands of doc/send.md are run as they stand there, with other hosts."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.integration.client.sender import Application
from tests.support.app_stub import AppStub
from tests.support.incoming_server import IncomingServer
from tests.support.tools import ROOT

PAGE = (ROOT / "doc" / "send.md").read_text()


def commands() -> list[str]:
    """The shell lines of the page, but for those that install something."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).splitlines()
    return [line for line in lines if "incoming send" in line]


def test_every_documented_command_sends_its_files(server: IncomingServer, app_stub: AppStub, tmp_path: Path) -> None:
    app = Application(app_stub, server)
    (tmp_path / "photos").mkdir()
    for name in ("film.mp4", "report.pdf", "backup.tar", "photos/a.jpg", "photos/b.jpg"):
        (tmp_path / name).write_text(name)
    script = tmp_path / "ticket.sh"
    script.write_text(f"#!/bin/sh\necho {app.new_ticket()}\n")
    script.chmod(0o755)
    for name, line in (("incoming", f'exec {sys.executable} {ROOT}/incoming.py "$@"'), ("pg_dump", "echo a dump")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_STATE_HOME": str(tmp_path / "state")}
    assert len(commands()) == 4
    for command in commands():
        line = re.sub(r"https?://(localhost:8000|app\.example\.org)/ticket", app.ticket_url, command)
        line = re.sub(r"https?://(localhost:4000|uploads\.example\.org)", server.base_url, line)
        subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, check=True, timeout=90)
    names = [name for name, _ in app.received]
    assert names == ["film.mp4", "a.jpg", "b.jpg", "report.pdf", "backup.tar", "app.sql"]


def test_the_program_on_the_page_sends_a_file(server: IncomingServer, app_stub: AppStub, tmp_path: Path) -> None:
    app = Application(app_stub, server)
    (tmp_path / "film.mp4").write_text("film")
    [source] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    source = re.sub(r"https://uploads\.example\.org\S*?(?=\")", app.upload_url(), source)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", source]
    out = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True, timeout=90).stdout
    assert out.decode().splitlines()[-1] == "finished 4 4"
    assert [name for name, _ in app.received] == ["film.mp4"]
