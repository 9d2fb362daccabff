"""A real PostgreSQL server of the test run's own, as a user that is not root, with a schema for each test."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from tests.support.tools import require_tool
from tests.support.waiting import wait_until

DEBIAN = Path("/usr/lib/postgresql")


class PostgresServer:
    """Listens on 127.0.0.1. Without fsync: what a power cut takes is not what these tests are about.

    With `primary` it is an asynchronous standby of that server.
    """

    def __init__(self, primary: "PostgresServer | None" = None, port: int | None = None, **options: str) -> None:
        _program("initdb")  # before anything is made: without it the test is skipped
        self.port = port or free_port()
        self._options = options
        self._directory = Path(tempfile.mkdtemp(prefix="incoming-postgres-"))
        self._user = self._own(self._directory)
        self._data = self._directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._schemas = 0
        if primary is not None:
            where = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "incoming")
            self._run("pg_basebackup", *where, "-D", str(self._data), "-R", "-c", "fast", "-X", "stream", "--no-sync")
            self.start()
            return
        self._run("initdb", "-D", str(self._data), "-U", "incoming", "--auth=trust", "-E", "UTF8", "--no-sync")
        self.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "incoming", "uploads")

    @property
    def pid(self) -> int:
        assert self._process is not None, "not running"
        return self._process.pid

    def dsn(self, schema: str = "public", *others: "PostgresServer") -> str:
        """The URL of the database on this server, or on whichever of several is the primary."""
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in (self, *others))
        return f"postgresql://incoming@{hosts}/uploads?search_path={schema}"

    def promote(self) -> None:
        """Make a standby the primary of a new timeline."""
        self._run("pg_ctl", "promote", "-D", str(self._data), "-w", "-t", "30")

    def replayed(self) -> str:
        """How far a standby has got."""
        return self.execute("SELECT pg_last_wal_replay_lsn()")

    def new_schema(self) -> str:
        """Return the DSN of an empty schema."""
        self._schemas += 1
        name = f"test_{self._schemas}"
        self.execute(f"CREATE SCHEMA {name}")
        return self.dsn(name)

    def new_database(self) -> str:
        """Return the name of an empty database."""
        self._schemas += 1
        name = f"uploads_{self._schemas}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def database_dsn(self, name: str) -> str:
        return f"postgresql://incoming@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str, database: str = "uploads") -> str:
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "incoming", "-d", database)
        return self._run("psql", *where, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement)

    def start(self) -> None:
        options = {"fsync": "off", "max_connections": "200", "unix_socket_directories": str(self._directory)}
        options |= self._options
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [_program("postgres"), "-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port), *words]
        log = (self._directory / "log").open("ab")
        with log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._directory, **self._user)
        wait_until(self._is_up, "PostgreSQL to answer")

    def stop(self, *, immediately: bool = False) -> None:
        """The polite end; or `immediately`, as a crash is."""
        assert self._process is not None
        self._process.send_signal(3 if immediately else 2)  # SIGQUIT: immediate shutdown, SIGINT: fast shutdown
        self._process.wait(30)

    def remove(self) -> None:
        self.stop(immediately=True)
        shutil.rmtree(self._directory)

    def _is_up(self) -> bool:
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "incoming", "-d", "postgres")
        return subprocess.run([_program("pg_isready"), *where], capture_output=True, check=False).returncode == 0

    def _run(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            [_program(name), *arguments], cwd=self._directory, capture_output=True, text=True, check=False, **self._user
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"
        return str(done.stdout).strip()

    @staticmethod
    def _own(directory: Path) -> Mapping[str, Any]:
        """PostgreSQL does not run as root. Give it the directory and return how to start it."""
        if os.getuid():
            return {}
        nobody = pwd.getpwnam("nobody")
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _program(name: str) -> str:
    """The path of one of PostgreSQL's programs, which Debian keeps off the PATH."""
    found = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]), reverse=True)
    return str(found[0]) if found else require_tool(name)
