"""A real PgBouncer in transaction mode in front of a PostgreSQL server of the test run."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from tests.support.tools import require_tool
from tests.support.waiting import wait_until


class PgBouncer:
    """Listens on 127.0.0.1 and leads every database of that name to the server. Clients may change the server."""

    def __init__(self, server_port: int, pool_size: int = 8) -> None:
        program = require_tool("pgbouncer")
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="incoming-pgbouncer-"))
        self._pool_size = pool_size
        self._write(server_port)
        user: dict[str, Any] = {}
        if not os.getuid():  # it does not run as root
            nobody = pwd.getpwnam("nobody")
            os.chown(self._directory, nobody.pw_uid, nobody.pw_gid)
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen([program, str(self._file)], stdout=log, stderr=log, **user)
        wait_until(self._is_up, "PgBouncer to answer")

    @property
    def _file(self) -> Path:
        return self._directory / "pgbouncer.ini"

    def _write(self, server_port: int) -> None:
        users = self._directory / "users"
        users.write_text('"incoming" ""\n')
        self._file.write_text(
            f"""[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = {self._pool_size}
server_login_retry = 0.2
server_idle_timeout = 2
admin_users = incoming
"""
        )

    def dsn(self, database: str) -> str:
        return f"postgresql://incoming@127.0.0.1:{self.port}/{database}"

    def lead_to(self, server_port: int) -> None:
        """Give clients another server, as an operator does after a failover; their connections stay."""
        self._write(server_port)
        self._process.send_signal(1)  # SIGHUP: read the file again

    def remove(self) -> None:
        self._process.kill()
        self._process.wait(30)
        shutil.rmtree(self._directory)

    def _is_up(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
