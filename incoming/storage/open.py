"""Opens the stores that the configuration names: the only place that names concrete ones.

Decides which settings a store gets, and in which order stores are closed. It does not know who works with them.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from incoming.core.errors import StorageFailed
from incoming.platform.mounts import read_mounts
from incoming.settings.settings import Settings
from incoming.storage.byte_store import ByteStore
from incoming.storage.filesystem.mounts import why_not_shared
from incoming.storage.filesystem.probe import UnusableDirectory, probe
from incoming.storage.filesystem.store import MAX_OPEN_FILES, FileStore, SharedFileStore
from incoming.storage.named_stores import NamedStores
from incoming.storage.operator_store import OperatorStore
from incoming.storage.quotas import StoreLimits
from incoming.storage.sqlite.host_lock import HostLock
from incoming.storage.sqlite.schema import MIGRATIONS, version_of
from incoming.storage.sqlite.store import SqliteStore
from incoming.storage.ticket_store import TicketStore

if TYPE_CHECKING:
    from incoming.storage.postgres.store import PostgresStore
    from incoming.storage.s3.bucket.findings import Finding

MISSING = "tickets in PostgreSQL need the Python package asyncpg: pip install 'incoming[postgres]'"

MISSING_S3 = "object_stores needs the Python package botocore: pip install 'incoming[s3]'"

CONNECTIONS = 80
"""Descriptors of one object store: its connections, those that are kept and those in use."""

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
        lock = HostLock(path)
        tickets = await asyncio.to_thread(SqliteStore, path, file_mode=DATABASE_MODE, limits=limits, lock=lock)
    try:
        files = (SharedFileStore if settings.database else FileStore)(
            settings.storage_dir, dir_mode=settings.dir_mode, file_mode=settings.file_mode, epochs_of=tickets.epochs_of
        )
        kept_bytes = _with_objects(settings, files, tickets)
    except BaseException:
        await tickets.close()
        raise
    descriptors = MAX_OPEN_FILES + len(settings.object_stores) * CONNECTIONS
    return Stores(instance, tickets, tickets, kept_bytes, descriptors)


def _with_objects(settings: Settings, files: FileStore, tickets: TicketStore) -> ByteStore:
    """Return the files alone if no object store is configured, else all stores side by side."""
    if not settings.object_stores:
        return files
    try:
        from incoming.storage.s3.opening import open_object_stores
    except ImportError as error:
        raise UnusableStorage(MISSING_S3) from error
    return NamedStores(files, open_object_stores(settings, tickets))


async def _open_postgres(settings: Settings, limits: StoreLimits, instance: str) -> PostgresStore:
    try:
        from incoming.storage.postgres.connection.errors import UnusableDatabase
        from incoming.storage.postgres.opening import open_postgres
    except ImportError as error:
        raise UnusableStorage(MISSING) from error
    host, direct = socket.gethostname(), settings.database_direct
    try:
        return await open_postgres(settings.database, direct=direct, host=host, instance=instance, limits=limits)
    except UnusableDatabase as error:
        raise UnusableStorage(str(error)) from error


def prepare(settings: Settings) -> list[str]:
    """Make the storage directory if there is none, and try what the stores will need of it and of object stores.

    Return warnings, a line each. Raises UnusableStorage.
    """
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
    if settings.database and (reason := why_not_shared(os.path.realpath(directory), read_mounts())):
        raise UnusableStorage(reason)
    return _examine_object_stores(settings)


def _examine_object_stores(settings: Settings) -> list[str]:
    warnings = []
    for store in settings.object_stores:
        for finding in examine_store(settings, store.name, everything=False):
            line = f"object store {store.name}: {finding.fact}; {finding.cure}"
            if finding.kind == "fault":
                raise UnusableStorage(line)
            if finding.kind == "warning":
                warnings.append(line)
    return warnings


def examine_store(settings: Settings, name: str, *, everything: bool, origins: Sequence[str] = ()) -> list[Finding]:
    """Return what an object store can and cannot do; of everything also whether pages of these origins may PUT parts.

    Raises UnusableStorage if there is none of this name.
    """
    store = next((one for one in settings.object_stores if one.name == name), None)
    if store is None:
        names = ", ".join(one.name for one in settings.object_stores) or "none"
        raise UnusableStorage(f"object_stores has no {name!r}; it has {names}")
    try:
        from incoming.storage.s3.bucket.examination import Examination
    except ImportError as error:
        raise UnusableStorage(MISSING_S3) from error

    async def examine() -> list[Finding]:
        examination = Examination(store, settings.paused_timeout)
        return await (examination.of_everything(origins) if everything else examination.at_start())

    return asyncio.run(examine())


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
        from incoming.storage.postgres.connection.errors import UnusableDatabase
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
    HostLock(database).check()  # before SQLite opens it: two hosts must not have it open
    if (found := version_of(database)) != len(MIGRATIONS):
        raise UnusableStorage(f"{database} has version {found}, this release uses {len(MIGRATIONS)}")
