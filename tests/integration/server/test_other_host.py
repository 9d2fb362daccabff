"""A server on another host is kept from the SQLite database of a running one; restarts on the same host are not."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.support.incoming_server import IncomingServer
from tests.support.ports import free_port
from tests.support.tools import ROOT, require_root, require_tool

SCRIPT = 'hostname "$1" && mount --bind "$2" /proc/sys/kernel/random/boot_id && shift 2 && exec "$@"'


def on_other_host(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program as on another machine: with another host name and another boot of the kernel."""
    require_root()
    boot_id = directory.with_name("boot_id")
    boot_id.write_text(f"{uuid.uuid4()}\n")
    shell = [require_tool("unshare"), "--mount", "--uts", "sh", "-c", SCRIPT, "sh", "elsewhere", str(boot_id)]
    program = [sys.executable, str(ROOT / "incoming.py"), *arguments]
    return subprocess.run([*shell, *program], capture_output=True, text=True, timeout=60, check=False)


def test_a_second_host_is_refused_and_the_first_restarts(start_server_here: IncomingServer) -> None:
    server = start_server_here
    serve = ("--port", str(free_port()), "--workers", "1", "--storage-dir", str(server.storage_dir))
    refused = on_other_host(server.storage_dir, *serve)
    assert refused.returncode == 1
    [line] = [line for line in refused.stderr.splitlines() if "cannot continue" in line]
    assert "the ticket database is in use by host" in line
    assert "SQLite serves one host: stop the server there" in line
    listed = on_other_host(server.storage_dir, "uploads", "--storage-dir", str(server.storage_dir), "list")
    assert listed.returncode == 2
    assert "the ticket database is in use by host" in listed.stderr
    server.restart(kill=True)
    server.restart()
    assert server.stop() == 0
    assert (
        "no uploads"
        in on_other_host(server.storage_dir, "uploads", "--storage-dir", str(server.storage_dir), "list").stdout
    )


@pytest.fixture
def start_server_here(tmp_path: Path) -> IncomingServer:
    with IncomingServer(tmp_path / "storage", "--workers", "1") as server:
        yield server
