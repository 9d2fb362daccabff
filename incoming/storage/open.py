"""Opens the stores that the configuration names: the only place that names concrete ones.

Decides which settings a store gets, and in which order stores are closed. It does not know who works with them.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from incoming.core.errors import StorageFailed
from incoming.settings.settings import Settings
from incoming.storage.byte_store import ByteStore
from incoming.storage.filesystem.probe import UnusableDirectory, probe
from incoming.storage.filesystem.store import MOST_OPEN, FileStore
from incoming.storage.operator_store import OperatorStore
from incoming.storage.quotas import StoreLimits
from incoming.storage.sqlite.schema import MIGRATIONS, version_of
from incoming.storage.sqlite.store import SqliteStore
from incoming.storage.ticket_store import TicketStore

if TYPE_CHECKING:
    from incoming.storage.postgres.store import PostgresStore

MISSING = "tickets in PostgreSQL need the Python package asyncpg: pip install 'incoming[postgres]'"

DATABASE = "incoming.sqlite"
DATABASE_MODE = 0o600
"""The database holds the secrets of every app: the group that may take uploads away must not read it."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores of one process of this `instance`. `descriptors`: how many files they may hold open at most."""

    instance: str
    tickets: TicketStore
    operators: OperatorStore
    files: ByteStore
    descriptors: int

    async def close(self) -> None:
        """Commit what is under way and close everything; the ByteStore first, whose last writes are committed."""
        await self.files.close()
        await self.tickets.close()


class UnusableStorage(Exception):
    """The configured storage cannot be used; the message is one line for the operator."""


async def open_stores(settings: Settings) -> Stores:
    """Return the stores. Raises OSError or StorageFailed if they cannot be used now, UnusableStorage if never."""
    instance = settings.instance or socket.gethostname()
    exact = settings.limit_counting == "exact"
    limits = StoreLimits(quota=settings.storage_quota, tickets=settings.max_tickets, exact=exact)
    if settings.database:
        tickets: SqliteStore | PostgresStore = await _open_postgres(settings, limits, instance)
    else:
        path = settings.storage_dir / DATABASE
        tickets = await asyncio.to_thread(SqliteStore, path, file_mode=DATABASE_MODE, limits=limits)
    try:
        files = FileStore(
            settings.storage_dir, dir_mode=settings.dir_mode, file_mode=settings.file_mode, epoch_of=tickets.epoch_of
        )
    except BaseException:
        await tickets.close()
        raise
    return Stores(instance, tickets, tickets, files, MOST_OPEN)


async def _open_postgres(settings: Settings, limits: StoreLimits, instance: str) -> PostgresStore:
    try:
        from incoming.storage.postgres.errors import UnusableDatabase
        from incoming.storage.postgres.opening import open_postgres
    except ImportError as error:
        raise UnusableStorage(MISSING) from error
    host, direct = socket.gethostname(), settings.database_direct
    try:
        return await open_postgres(settings.database, direct=direct, host=host, instance=instance, limits=limits)
    except UnusableDatabase as error:
        raise UnusableStorage(str(error)) from error


def prepare(settings: Settings) -> None:
    """Make the storage directory if there is none, and try what the stores will need of it. Raises UnusableStorage."""
    if settings.database_direct and not settings.database:
        raise UnusableStorage("database_direct is set, but database is not: name the pooler or the server there")
    if settings.database and settings.durability != "power":
        raise UnusableStorage(
            f"database names a server that several machines may share, so durability must be 'power', not "
            f"{settings.durability!r}: what is not synced is only in the memory of the machine that wrote it"
        )
    directory = settings.storage_dir
    try:
        if not directory.is_dir():
            directory.mkdir(parents=True)
            with suppress(PermissionError):  # a mode that is wider than wanted is found below, for files
                directory.chmod(settings.dir_mode)
    except OSError as error:
        raise UnusableStorage(f"storage_dir {str(directory)!r} cannot be made: {error.strerror}") from error
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise UnusableStorage(f"storage_dir {str(directory)!r} cannot be written to")
    try:
        probe(str(directory), settings.file_mode)
    except UnusableDirectory as error:
        raise UnusableStorage(str(error)) from error


def check_version(settings: Settings) -> None:
    """Raise UnusableStorage unless the database is there and of this release: the server may be of another one."""
    try:
        if settings.database:
            asyncio.run(_check_postgres(settings))
        else:
            _check_sqlite(settings.storage_dir / DATABASE)
    except StorageFailed as error:
        raise UnusableStorage(error.message) from error


async def _check_postgres(settings: Settings) -> None:
    try:
        from incoming.storage.postgres.errors import UnusableDatabase
        from incoming.storage.postgres.opening import check_postgres
    except ImportError as error:
        raise UnusableStorage(MISSING) from error
    try:
        await check_postgres(settings.database, settings.database_direct)
    except UnusableDatabase as error:
        raise UnusableStorage(str(error)) from error


def _check_sqlite(database: Path) -> None:
    if not database.is_file():
        raise UnusableStorage(f"there is no ticket database in {database.parent}")
    if (found := version_of(database)) != len(MIGRATIONS):
        raise UnusableStorage(f"{database} has version {found}, this release uses {len(MIGRATIONS)}")
