"""A primary and a standby of PostgreSQL, which change places."""

import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port
from tests.support.postgres_server import PostgresServer
from tests.support.waiting import wait_until

SCHEMA = "cluster"


class DatabasePair:
    """Use it in a with statement. Replication is synchronous, except while commits are to be lost."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="incoming-pair-"))
        access = self._directory / "pg_hba.conf"
        access.write_text("local all all trust\nhost all all all trust\nhost replication all all trust\n")
        access.chmod(0o644)
        self._directory.chmod(0o755)
        self._options = {"listen_addresses": "*", "hba_file": str(access), "wal_sender_timeout": "5s"}
        self.ports = (free_port(), free_port())
        self.primary = PostgresServer(port=self.ports[0], **self._options)
        self.primary.execute(f"CREATE SCHEMA {SCHEMA}")
        self.standby = self._new_standby(self.ports[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.standby.remove()
        self.primary.remove()
        shutil.rmtree(self._directory)

    def dsn(self, address: str) -> str:
        """The URL of whichever is the primary, for clients that reach this machine at `address`."""
        hosts = ",".join(f"{address}:{port}" for port in self.ports)
        return f"postgresql://incoming@{hosts}/uploads?search_path={SCHEMA}"

    def restart(self, pause: float) -> None:
        """Stop the primary at once, and start it after `pause` seconds."""
        self.primary.stop(immediately=True)
        time.sleep(pause)
        self.primary.start()

    def fail_over(self, *, losing: float = 0.0) -> None:
        """Stop the primary at once, and let the standby take its place; a new standby takes that one's.

        With `losing` the standby has not got the commits of so many seconds.
        """
        old, new = self.primary, self.standby
        if losing:
            self._synchronous(old, wanted=False)
            _configure(new, "primary_conninfo", "")
            time.sleep(losing)
        old.stop(immediately=True)
        # It has no standby yet: its commits would wait for one.
        self._synchronous(new, wanted=False)
        new.promote()
        old.remove()
        self.primary = new
        self.standby = self._new_standby(old.port)

    def _new_standby(self, port: int) -> PostgresServer:
        standby = PostgresServer(self.primary, port=port, **self._options)
        is_there = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        wait_until(lambda: self.primary.execute(is_there) == "1", "the standby to stream")
        self._synchronous(self.primary, wanted=True)
        return standby

    @staticmethod
    def _synchronous(server: PostgresServer, *, wanted: bool) -> None:
        _configure(server, "synchronous_standby_names", "*" if wanted else "")


def _configure(server: PostgresServer, name: str, value: str) -> None:
    server.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    server.execute("SELECT pg_reload_conf()")
