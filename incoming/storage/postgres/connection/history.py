"""Which history of the server the database is in: a failover, or a restart that lost commits, begins another one.

An asynchronous standby that is promoted lacks the last commits of its primary. The number of its timeline tells, and
that it is another start of the server. Versions of tickets are given by a sequence, which has gone back with
everything else; so the first instance that notices moves the sequence beyond all that were ever given. From then on a
version that was believed before is that of the same content, or matches no row. Decides nothing about tickets.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

import asyncpg

log = logging.getLogger(__name__)

LOCK = 4_717_003
"""The advisory lock under which a new history is noted."""

SPAN = 2**32
"""More versions than commits that a failover loses."""

TIMELINE_SHIFT = 44
"""Each timeline has 2^44 versions of its own: 20 years at 25,000 a second."""

_LOOK = """SELECT pg_is_in_recovery() AS is_standby,
    (SELECT system_identifier FROM pg_control_system())::text AS system,
    CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
    extract(epoch FROM pg_postmaster_start_time())::text AS started,
    (SELECT value FROM meta WHERE key = 'history') AS noted"""
_MOVE = "SELECT setval('versions', greatest(last_value + $1::bigint, $2::bigint)) FROM versions"


@dataclass(frozen=True, slots=True)
class History:
    """One history. `base`: the versions given in it are higher; `before`: the name of the one that it followed."""

    name: str = ""
    base: int = 0
    before: str = ""


class HistoryWatch:
    """What one process knows of the history. `is_stale` when `is_current` has found another one."""

    def __init__(self) -> None:
        self.known = History()
        self.is_stale = False
        self.changes = 0
        """How often another history was found than the known one."""

    async def is_current(self, connection: asyncpg.Connection) -> bool:
        """Return whether this connection leads to the known history. Raise ReadOnlySQLTransactionError on a standby."""
        name, _ = await _look(connection)
        self.is_stale = name != self.known.name
        return not self.is_stale

    async def examine(self, connection: asyncpg.Connection) -> None:
        """Note the history that this connection leads to, not within a transaction. Raises like `is_current`."""
        async with connection.transaction():
            name, noted = await _look(connection)
            found = _parse(noted)
            if found.name != name:
                found = await self._begin(connection, name)
        if self.known.name not in ("", found.name):
            self.changes += 1
            log.warning("the database server has restarted or failed over; checking what it still has")
        self.known, self.is_stale = found, False

    async def _begin(self, connection: asyncpg.Connection, name: str) -> History:
        """Note a new history, unless another instance has."""
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        found = _parse(await connection.fetchval("SELECT value FROM meta WHERE key = 'history'"))
        if found.name == name:
            return found
        timeline = int(name.split("/")[1], 16)
        base = await connection.fetchval(_MOVE, SPAN, timeline << TIMELINE_SHIFT)
        begun = History(name, base, found.name)
        await connection.execute("DELETE FROM meta WHERE key LIKE 'restored/%'")  # of the last one
        await connection.execute(
            "INSERT INTO meta VALUES ('history', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            json.dumps([begun.name, begun.base, begun.before]),
        )
        return begun


async def _look(connection: asyncpg.Connection) -> tuple[str, str | None]:
    """Return the name of the present history, and what is noted of the last one."""
    row = await connection.fetchrow(_LOOK)
    if row["is_standby"]:
        raise asyncpg.ReadOnlySQLTransactionError("the server is a standby, which accepts no writes")
    return "/".join((row["system"], row["timeline"], row["started"])), row["noted"]


def _parse(noted: str | None) -> History:
    return History(*json.loads(noted)) if noted else History()
