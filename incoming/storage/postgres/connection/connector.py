"""How connections to the server are opened, and which settings hold on each of them.

A transaction pooler (PgBouncer) hands one server connection to many clients, transaction by transaction: there are no
prepared statements then, no settings of a session and no notifications. Where `direct` names the server itself, `dsn`
may name such a pooler; all that needs a session goes over `direct`. Knows no table.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from incoming.platform.sockets import limit_silence

CONNECTIONS = 4
"""Connections of one process, besides the one that listens."""

ANSWER_WITHIN = 10.0
"""Seconds for a connection attempt, and for a statement; then the connection counts as dead."""

UNACKNOWLEDGED = 5.0
"""Seconds after which bytes that the other side has not acknowledged end a connection: a cut line sends no reset."""

TRANSACTION_SETTINGS = {
    # A process that is frozen in a transaction must not hold rows for longer than its callers wait.
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "5s",
    "statement_timeout": "10s",
}

SESSION_SETTINGS = {
    # The server notices a client behind a cut line, and frees its rows, within half a minute.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

Use = Callable[[asyncpg.Connection], Awaitable[None]]


class Connector:
    """Opens connections to one database."""

    def __init__(self, dsn: str, direct: str = "") -> None:
        self._dsn = dsn
        self._direct = direct or dsn
        self.is_pooled = bool(direct)
        """Whether `pool` goes through a transaction pooler, so that each transaction brings its own settings."""

    async def connect(self) -> asyncpg.Connection:
        """Return a connection with a session of its own to the primary."""
        connection = await asyncpg.connect(self._direct, **_session())
        try:
            _limit_silence(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def pool(self, opened: Use | None) -> asyncpg.Pool:
        """Return a pool that has no connection yet; `opened` examines each before it is used."""

        async def init(connection: asyncpg.Connection) -> None:
            _limit_silence(connection)
            if opened is not None:
                await opened(connection)

        async def keep(_: asyncpg.Connection) -> None:
            """Nothing is set beyond a transaction, so nothing is reset."""

        # It keeps no connection by itself: where the server has gone is for those to find out who need it.
        return await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=CONNECTIONS,
            init=init,
            reset=keep,
            **(_transactions() if self.is_pooled else _session()),
        )

    async def apply_settings(self, connection: asyncpg.Connection) -> None:
        """Give a transaction behind a pooler the settings that a session has otherwise."""
        if self.is_pooled:
            await connection.execute(
                "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in TRANSACTION_SETTINGS.items())
            )


def _transactions() -> dict[str, Any]:
    return {
        "timeout": ANSWER_WITHIN,
        "command_timeout": ANSWER_WITHIN,
        "statement_cache_size": 0,
        "server_settings": {"application_name": "incoming"},
    }


def _session() -> dict[str, Any]:
    return {
        "timeout": ANSWER_WITHIN,
        "command_timeout": ANSWER_WITHIN,
        "target_session_attrs": "primary",
        "server_settings": {"application_name": "incoming", **TRANSACTION_SETTINGS, **SESSION_SETTINGS},
    }


def _limit_silence(connection: asyncpg.Connection) -> None:
    """End the connection when the other side acknowledges nothing; TCP by itself waits for a quarter of an hour."""
    line = connection._transport.get_extra_info("socket")  # asyncpg has no public way to its socket
    if line is None or line.family == socket.AF_UNIX:
        return
    limit_silence(line, idle=10, interval=5, unacknowledged=UNACKNOWLEDGED)
