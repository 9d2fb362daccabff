"""Every kind of database of tickets, as the contract suite needs it. Several stores on one are several workers.

The suite uses what the Protocols offer and nothing else. A further store is a further class here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from incoming.storage.memory.tickets import MemoryDatabase, MemoryTicketStore
from incoming.storage.operator_store import OperatorStore
from incoming.storage.sqlite.store import SqliteStore
from incoming.storage.ticket_store import TicketStore


class Store(TicketStore, OperatorStore, Protocol):
    """Both Protocols, as one store offers them."""


class Database(Protocol):
    """One database. `open` takes `limits`, `clock` and `host`."""

    def open(self, **options: Any) -> Store: ...


class SqliteDatabase:
    def __init__(self, directory: Path) -> None:
        self._path = directory / "incoming.sqlite"

    def open(self, **options: Any) -> Store:
        return SqliteStore(self._path, **options)


class InMemory:
    def __init__(self, directory: Path) -> None:
        self._database = MemoryDatabase()

    def open(self, **options: Any) -> Store:
        return MemoryTicketStore(self._database, **options)


DATABASES: dict[str, Callable[[Path], Database]] = {"sqlite": SqliteDatabase, "memory": InMemory}
