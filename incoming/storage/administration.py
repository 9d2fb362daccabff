"""What operators do with ticket databases from a shell. Decides which store is meant; names concrete ones like open.py.

Every function raises UnusableStorage with one line for what cannot be done as configured, StorageFailed for what may
succeed later.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from incoming.core.errors import StorageFailed
from incoming.settings.settings import Settings
from incoming.storage.inspection import Fact
from incoming.storage.open import DATABASE, DATABASE_MODE, MISSING, UnusableStorage, check_version
from incoming.storage.sqlite import inspection
from incoming.storage.sqlite.export import exported
from incoming.storage.sqlite.host_lock import HostLock
from incoming.storage.sqlite.schema import open_database

T = TypeVar("T")


def upgrade(settings: Settings) -> str:
    """Bring the tables up to date, also where no older instance may serve meanwhile; return where they are."""
    if not settings.database:
        path = settings.storage_dir / DATABASE
        if not path.is_file():
            raise UnusableStorage(f"there is no ticket database in {path.parent}")
        HostLock(path).check()
        open_database(path, DATABASE_MODE)
        return str(path)

    async def run() -> str:
        from incoming.storage.postgres.opening import upgrade_postgres

        return await upgrade_postgres(settings.database, settings.database_direct)

    return _with_postgres(run)


def copy(settings: Settings) -> tuple[int, str]:
    """Copy the SQLite database in the storage directory into `database`, which is empty; return how many tickets.

    Afterwards no server uses the SQLite database any more.
    """
    if not settings.database:
        raise UnusableStorage("database is not set: name the PostgreSQL database to copy to (INCOMING_DATABASE)")

    async def run() -> tuple[int, str]:
        from incoming.storage.postgres.importing import import_contents

        host = socket.gethostname()
        who = host, settings.instance or host
        with exported(settings.storage_dir / DATABASE, DATABASE_MODE) as (contents, mark_moved):
            number, where = await import_contents(settings.database, settings.database_direct, contents, *who)
            mark_moved(where)
        return number, where

    return _with_postgres(run)


def release(settings: Settings) -> str | None:
    """Remove the lock of a host that is gone from the SQLite database; return the host's name, None without a lock."""
    host = HostLock(settings.storage_dir / DATABASE).remove()
    return None if host is None else host.name


def inspect(settings: Settings) -> list[Fact]:
    """Return what is found of the database; what fails is a fault."""
    if not settings.database:
        return _inspect_sqlite(settings, settings.storage_dir / DATABASE)

    async def run() -> list[Fact]:
        from incoming.storage.postgres.inspection import inspect

        return await inspect(settings.database, settings.database_direct, settings.workers)

    return _with_postgres(run)


def _inspect_sqlite(settings: Settings, path: Path) -> list[Fact]:
    if not path.exists():
        return [Fact(f"there is no ticket database in {path.parent}; a first start makes it", is_note=True)]
    try:
        check_version(settings)
    except (UnusableStorage, StorageFailed) as error:
        return [Fact(str(error), "see the cure in that line")]
    return inspection.inspect(path)


def _with_postgres(run: Callable[[], Awaitable[T]]) -> T:
    async def wait() -> T:
        try:
            from incoming.storage.postgres.connection.errors import UnusableDatabase
        except ImportError as error:
            raise UnusableStorage(MISSING) from error
        try:
            return await run()
        except UnusableDatabase as error:
            raise UnusableStorage(str(error)) from error

    return asyncio.run(wait())
