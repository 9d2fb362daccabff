"""What PostgreSQL's errors mean: worth another try, a full disk, or a failure. Knows codes, not what was being done.

The operator's line names the server without its password.
"""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from incoming.core.errors import StorageFailed, StorageFull
from incoming.storage.fault_log import RateLimitedLog

BROKEN = (
    OSError,  # includes TimeoutError: the server is away, or does not answer
    asyncpg.InterfaceError,  # the connection has ended
    asyncpg.InternalClientError,  # it has ended while something was under way
    asyncpg.PostgresConnectionError,
)
"""Errors after which a connection is of no use."""

TRANSIENT = (
    *BROKEN,
    asyncpg.OperatorInterventionError,  # the server stops, or starts
    asyncpg.ReadOnlySQLTransactionError,  # after a failover: another server is the primary now
    asyncpg.TooManyConnectionsError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,  # deadlocks and conflicts
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidCachedStatementError,  # a newer release has upgraded the tables
    asyncpg.OutdatedSchemaCacheError,
)
"""Errors after which nothing was committed, and which time may cure."""

AWAY = (
    *BROKEN,
    asyncpg.OperatorInterventionError,  # the server stops, or starts
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TooManyConnectionsError,
)
"""Errors of a server that does not serve at present; anything else is an answer."""

ANY: tuple[type[BaseException], ...] = (asyncpg.PostgresError, *TRANSIENT)
"""All errors of a connection and of the server."""

FINAL_AT_START = {
    asyncpg.InvalidPasswordError: "give the right user name and password",
    asyncpg.InvalidAuthorizationSpecificationError: "let this user connect (pg_hba.conf), or name another one",
    asyncpg.InvalidCatalogNameError: "create the database, or name another one",
    asyncpg.InsufficientPrivilegeError: "let this user create tables in the schema, and own those that are there",
    asyncpg.InvalidSchemaNameError: "create the schema that search_path names",
    ssl.SSLCertVerificationError: "name the file of its authority (sslrootcert), or the host as the certificate does",
}
"""What waiting does not cure, and what does."""

WAITED_FOR = {
    asyncpg.TargetServerAttributeNotMatched: "name the primary, or all servers (HOST1:5432,HOST2:5432)",
    asyncpg.ReadOnlySQLTransactionError: "name the primary, or allow writing (default_transaction_read_only)",
    asyncpg.TooManyConnectionsError: "raise max_connections, or run fewer workers (each has up to 5)",
    asyncpg.LockNotAvailableError: "see which transaction holds its tables (pg_stat_activity), and end it",
}
"""What may cure itself, and what cures it otherwise."""

IN_OPERATION = {
    asyncpg.UndefinedTableError: "its tables are not those of this release; see `incoming database check`",
    asyncpg.UndefinedColumnError: "its tables are not those of this release; see `incoming database check`",
    asyncpg.DiskFullError: "make room on its disk",
    asyncpg.QueryCanceledError: "see what keeps it busy (pg_stat_activity)",
}
"""What cures that which a server has noticed while it served."""


class UnusableDatabase(Exception):
    """The database cannot be used, and waiting does not help; one line for the operator, without a password."""


def without_password(dsn: str) -> str:
    """Return the DSN as it may be logged."""
    parts = urlsplit(dsn)
    user = f"{parts.username}@" if parts.username else ""
    return urlunsplit((parts.scheme, user + parts.netloc.rpartition("@")[2], parts.path, "", ""))


def unusable(dsn: str, error: BaseException) -> str:
    """Return one line: the database without its password, the cause and the cure."""
    detail = " ".join(str(error).split()) or type(error).__name__
    return f"the ticket database {without_password(dsn)} cannot be used ({detail}): {cure_of(error)}"


def cure_of(error: BaseException) -> str:
    """Return what the operator can do."""
    if is_pooler(error):
        return "it is a transaction pooler, so name the server itself in database_direct"
    cures = FINAL_AT_START | WAITED_FOR | IN_OPERATION
    known = next((cure for kind, cure in cures.items() if isinstance(error, kind)), "")
    return known or ("see that it runs and can be reached" if isinstance(error, TRANSIENT) else "see its log")


def is_pooler(error: BaseException) -> bool:
    """Return whether PgBouncer answers, which takes no settings of a session."""
    return isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in str(error)


class DatabaseFaults:
    """Turns errors of one database into those of the tree, for the client without details, for the operator with."""

    def __init__(self, dsn: str) -> None:
        self.name = without_password(dsn)
        self._dsn = dsn
        self._log = RateLimitedLog()

    def blame(self, error: BaseException) -> StorageFull | StorageFailed:
        """Return the error for the caller, and log the details, once for all errors of a server that is away."""
        kind = "" if isinstance(error, AWAY) else type(error).__name__
        self._log.report((kind, cure_of(error)), "%s", unusable(self._dsn, error))
        if isinstance(error, asyncpg.DiskFullError):
            return StorageFull("no space is left for the ticket database of the server")
        return StorageFailed("the ticket database of the server does not answer as it should")

    def damaged(self, ticket_id: str) -> None:
        """Log which record cannot be read."""
        self._log.report(
            ("damaged", ticket_id), "ticket database %s: the record of upload %s is damaged", self.name, ticket_id
        )
