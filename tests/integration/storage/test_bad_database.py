"""A database that cannot be used: one line with its name, the cause and the cure, at the start and in operation.

No line ever has the password.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import StorageFailed
from incoming.server.worker import Worker
from incoming.settings.settings import Settings
from incoming.storage.postgres import opening
from incoming.storage.postgres.opening import open_postgres
from incoming.storage.postgres.schema import MIGRATIONS
from incoming.storage.postgres.store import PostgresStore
from tests.support.ports import free_port
from tests.support.postgres_server import PostgresServer
from tests.support.stores import until
from tests.support.waiting import wait_until
from tests.unit.storage.tickets import new

PASSWORD = "hidden-word"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that asks the members of `guarded` for their passwords."""
    server = PostgresServer()
    server.execute("CREATE ROLE guarded")
    rules = server._data / "pg_hba.conf"
    rules.write_text("host all +guarded 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    server.execute("SELECT pg_reload_conf()")
    query = "SELECT count(*) FROM pg_hba_file_rules WHERE '+guarded' = ANY(user_name)"
    wait_until(lambda: server.execute(query) == "1", "the rule")
    yield server
    server.remove()


class Database:
    """A database of its own, whose user has a password."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.name = server.new_database()
        self.user = f"of_{self.name}"
        server.execute(f"CREATE ROLE {self.user} LOGIN PASSWORD '{PASSWORD}' IN ROLE guarded")
        server.execute(f"ALTER DATABASE {self.name} OWNER TO {self.user}")
        self.port = server.port

    @property
    def shown(self) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{self.name}"

    @property
    def dsn(self) -> str:
        return self.shown.replace("@", f":{PASSWORD}@")

    def execute(self, statement: str) -> str:
        return self.server.execute(statement, self.name)

    def change_user(self, what: str) -> None:
        self.server.execute(f"ALTER ROLE {self.user} {what}")

    def end_connections(self) -> None:
        self.server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{self.user}'")

    def restart_as_standby(self) -> None:
        self.server.stop()
        (self.server._data / "standby.signal").touch()
        self.server.start()

    def restore(self) -> None:
        """Let the server serve again, whatever was done to it."""
        self.server.stop(immediately=True)
        (self.server._data / "standby.signal").unlink(missing_ok=True)
        self.server.start()


@pytest.fixture
def database(server: PostgresServer) -> Database:
    return Database(server)


@dataclass(frozen=True)
class Fault:
    """What is done to a database, and what the operator reads."""

    name: str
    make: Callable[[Database], object]
    cause: str
    cure: str
    stops_the_server: bool = False


def nowhere(database: Database) -> None:
    database.port = free_port()


def of_a_later_release(database: Database) -> None:
    later = len(MIGRATIONS) + 1
    tables = "CREATE TABLE schema_version (version integer, needs integer); CREATE TABLE tickets (id text)"
    row = f"INSERT INTO schema_version VALUES ({later}, {later})"
    database.execute(f"SET ROLE {database.user}; {tables}; {row}")


def missing(database: Database) -> None:
    database.server.execute(f"DROP DATABASE {database.name} WITH (FORCE)")  # connections may have come back


READ_ONLY = Fault(
    "read-only",
    lambda database: database.change_user("SET default_transaction_read_only = on"),
    "read-only transaction",
    "name the primary, or allow writing (default_transaction_read_only)",
)
WRONG_PASSWORD = Fault(
    "wrong password",
    lambda database: database.change_user("PASSWORD 'another'"),
    "password authentication failed",
    "give the right user name and password",
)
NO_CONNECTION = Fault(
    "no connection left",
    lambda database: database.change_user("CONNECTION LIMIT 0"),
    "too many connections",
    "raise max_connections, or run fewer workers",
)
MISSING = Fault("missing", missing, "does not exist", "create the database, or name another one")
STANDBY = Fault(
    "standby",
    lambda database: database.restart_as_standby(),
    "target attribute requirement",
    "name the primary, or all servers",
    stops_the_server=True,
)
AT_START = (
    *(READ_ONLY, WRONG_PASSWORD, NO_CONNECTION, MISSING, STANDBY),
    Fault("unreachable", nowhere, "Connect call failed", "see that it runs and can be reached"),
    Fault("too old", lambda _: None, "it is PostgreSQL", "upgrade it to 99 or later"),
    Fault(
        "foreign",
        lambda database: database.execute("CREATE TABLE tickets (title text)"),
        r"another program's tables are in it \(tickets\)",
        "name an empty database or schema",
    ),
    Fault("later", of_a_later_release, "needs a release that knows version", "run the release that it was used with"),
    Fault(
        "no privilege",
        lambda database: database.server.execute(f"ALTER DATABASE {database.name} OWNER TO incoming"),
        "permission denied for schema public",
        "let this user create tables in the schema",
    ),
)
IN_OPERATION = (
    *(READ_ONLY, WRONG_PASSWORD, NO_CONNECTION, MISSING, STANDBY),
    Fault(
        "unreachable",
        lambda database: database.server.stop(),
        "Connect call failed|Connection reset by peer|the database system is shutting down",
        "see that it runs and can be reached",
        stops_the_server=True,
    ),
    Fault(
        "foreign",
        lambda database: database.execute("DROP TABLE progress CASCADE"),
        'relation "progress" does not exist',
        "its tables are not those of this release; see `incoming database check`",
    ),
    Fault(
        "later",
        lambda database: database.execute("ALTER TABLE progress RENAME extents TO ranges"),
        'column "extents" of relation "progress" does not exist',
        "its tables are not those of this release; see `incoming database check`",
    ),
)


def named(fault: Fault) -> str:
    return fault.name


def assert_one_line(caplog: pytest.LogCaptureFixture, database: Database, fault: Fault) -> None:
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    if fault.stops_the_server and len(records) > 1:
        # That it is not there has its own line, before it is there again as another one.
        assert "see that it runs and can be reached" in records.pop(0).getMessage()
    assert len(records) == 1, caplog.text
    line = records[0].getMessage()
    assert f"the ticket database {database.shown} cannot be used" in line
    assert re.search(fault.cause, line)
    assert fault.cure in line
    assert "\n" not in line
    assert records[0].exc_info is None
    assert PASSWORD not in caplog.text


async def do(work: Callable[[], object]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, work)


@pytest.mark.parametrize("fault", AT_START, ids=named)
async def test_a_start_on_a_database_that_cannot_be_used_prints_one_line(
    database: Database,
    fault: Fault,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(opening, "STARTUP_TIMEOUT", 0.0)
    if fault.name == "too old":
        monkeypatch.setattr(opening, "OLDEST", 99)
    await do(lambda: fault.make(database))
    settings = Settings(storage_dir=tmp_path, database=database.dsn, durability="power")
    try:
        assert await Worker(settings).recover() > 0
        assert_one_line(caplog, database, fault)
    finally:
        if fault.stops_the_server:
            await do(database.restore)


@pytest.fixture
def store(io_loop: IOLoop, database: Database) -> Iterator[PostgresStore]:
    store = io_loop.run_sync(lambda: open_postgres(database.dsn, host="here"))
    yield store
    io_loop.run_sync(store.close)


@pytest.mark.parametrize("fault", IN_OPERATION, ids=named)
async def test_a_database_that_can_no_longer_be_used_has_one_line_in_the_log(
    store: PostgresStore,
    database: Database,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(store._transactions._outage, "timeout", 0.5)
    await store.create(new())
    await do(lambda: fault.make(database))
    try:
        if not fault.stops_the_server:
            await do(database.end_connections)
        for _ in range(3):
            with pytest.raises(StorageFailed):
                await store.create(new())
        assert_one_line(caplog, database, fault)
    finally:
        if fault.stops_the_server:
            await do(database.restore)


async def test_a_database_that_the_start_has_waited_for_is_one_line_as_well(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opening, "RETRY_INTERVAL", 0.01)
    await do(lambda: NO_CONNECTION.make(database))
    starting = asyncio.ensure_future(open_postgres(database.dsn, host="here"))
    await until(lambda: caplog.records, "the line")
    await asyncio.sleep(0.1)
    await do(lambda: database.change_user("CONNECTION LIMIT -1"))
    await (await starting).close()
    assert_one_line(caplog, database, NO_CONNECTION)
    assert caplog.messages[0].endswith("; waiting for it")
