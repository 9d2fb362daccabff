"""Progress of many uploads in one statement: all that has gathered while the last one was committed (group commit).

The statement is a transaction by itself, so that a commit takes one round trip. It may be made twice: what is in the
database already has another version than was believed. Decides what goes together, and which change is none of these:
one that is more than progress, or whose caller believed an older version, goes the whole way. Knows no connection.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace

import asyncpg

from incoming.core.errors import UploadError, copied
from incoming.core.ticket import Ticket
from incoming.storage.postgres.connection.transactions import Transactions
from incoming.storage.postgres.statements.tickets import WRITTEN_BY, writer
from incoming.storage.postgres.ticket_changes import foreseen
from incoming.storage.ticket_row import is_progress, to_progress
from incoming.storage.ticket_store import Change

MAX_BATCH = 500
"""Tickets in one statement."""

TOUCH_INTERVAL = 300.0
"""Seconds by which `touched` may be behind the last activity: idle limits are hours."""

COMMIT_INTERVAL = 0.02
"""Seconds from one statement to the next when all that waits may wait: then it carries what many uploads bring."""

MAX_REMEMBERED = 10_000
"""Tickets of which it is remembered when they were touched; the oldest are dropped."""

_ADVANCE = f"""WITH locked AS MATERIALIZED (SELECT id FROM progress WHERE id = ANY($1) ORDER BY id FOR UPDATE)
    UPDATE progress p SET version = nextval('versions'), active_at = u.active_at, extents = u.extents,
    synced = u.synced, written_by = {WRITTEN_BY.format(all_synced="u.all_synced", mark="u.mark")},
    writer = CASE WHEN u.extents = p.extents THEN p.writer ELSE $8 END
    FROM unnest($1::text[], $2::bigint[], $3::float8[], $4::bytea[], $5::bytea[], $6::boolean[], $7::text[])
    AS u (id, version, active_at, extents, synced, all_synced, mark) JOIN locked USING (id)
    WHERE p.id = u.id AND p.version = u.version RETURNING p.id, p.version"""  # noqa: S608 - constants only
"""Locks in the order of the ids, as all do. A row that was changed meanwhile has another version then."""

_TOUCH = """WITH u AS (SELECT * FROM unnest($1::text[], $2::float8[]) AS u (id, active_at)), late AS (
        SELECT t.id, u.active_at FROM tickets t JOIN u USING (id) WHERE t.touched < u.active_at - $3
        FOR UPDATE OF t SKIP LOCKED)
    UPDATE tickets t SET touched = late.active_at FROM late WHERE t.id = late.id"""
"""Waits for nobody: a transaction that holds the ticket's row touches it as well."""


@dataclass(slots=True)
class _Asked:
    believed: Ticket
    change: Change
    answer: asyncio.Future[Ticket | None]


@dataclass(slots=True)
class _Step:
    """What becomes of one ticket in a batch, and who asked for it: all get the same ticket, because a version that
    meant two would let one of them be written over.
    """

    known: Ticket
    after: Ticket
    answers: list[asyncio.Future[Ticket | None]]

    def succeed(self, version: int | None) -> None:
        """Answer with the ticket as it was committed; with None if the row had another version."""
        ticket = None if version is None else replace(self.after, version=version)
        for answer in self.answers:
            if not answer.done():
                answer.set_result(ticket)

    def fail(self, error: UploadError) -> None:
        for answer in self.answers:
            if not answer.done():
                answer.set_exception(copied(error))


class ProgressWriter:
    """One process's. At most one statement is under way, and the next one takes all that has gathered."""

    def __init__(self, transactions: Transactions, host: str, instance: str) -> None:
        self._transactions = transactions
        self._host = host
        self._instance = instance
        self._asked: list[_Asked] = []
        self._task: asyncio.Task[None] | None = None
        self._begun_at = -math.inf
        """When the last statement was due, by the event loop's clock."""
        self._due = False
        """Whether what has gathered is to be committed next: a patient one that comes meanwhile may wait longer."""
        self._timer: asyncio.TimerHandle | None = None
        self._touched: OrderedDict[str, float] = OrderedDict()
        """By id the time of the last touch, or the activity that this process has found first."""

    async def advance(self, believed: Ticket, change: Change, *, patient: bool = False) -> Ticket | None:
        """Return the ticket after its progress; None, and nothing is changed, if it must go the whole way.

        `patient` progress may wait for COMMIT_INTERVAL after the statement before.
        """
        if _changed(believed, change) is None:
            return None  # without waiting for those under way
        loop = asyncio.get_running_loop()
        asked = _Asked(believed, change, loop.create_future())
        self._asked.append(asked)
        delay = self._begun_at + COMMIT_INTERVAL - loop.time() if patient else 0.0
        if delay <= 0:
            self._start()
        elif self._timer is None:
            self._timer = loop.call_later(delay, self._start)
        return await asked.answer

    def _start(self) -> None:
        """Commit all that has gathered, after the statement that is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = True
        self._begun_at = asyncio.get_running_loop().time()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._due:
                batch, self._asked = self._asked[:MAX_BATCH], self._asked[MAX_BATCH:]
                self._due = bool(self._asked)
                await self._write(batch)
        finally:
            self._task = None

    async def _write(self, batch: list[_Asked]) -> None:
        steps = self._steps(batch)
        if not steps:
            return
        ordered = [steps[ticket_id] for ticket_id in sorted(steps)]
        try:
            versions = await self._transactions.run_statement(lambda connection: self._commit(connection, ordered))
        except UploadError as error:
            for step in ordered:
                step.fail(error)
            return
        for step in ordered:
            step.succeed(versions.get(step.known.id))
        await self._touch([step for step in ordered if step.known.id in versions])

    def _steps(self, batch: list[_Asked]) -> dict[str, _Step]:
        """Join what was asked for each ticket; what is no progress is answered at once."""
        steps: dict[str, _Step] = {}
        for asked in batch:
            step = steps.get(asked.believed.id)
            known = asked.believed if step is None else step.after
            after = _changed(known, asked.change)
            if after is None or (step is not None and asked.believed.version != step.known.version):
                if not asked.answer.done():
                    asked.answer.set_result(None)
            elif step is None:
                steps[known.id] = _Step(known, after, [asked.answer])
            else:
                step.after = after
                step.answers.append(asked.answer)
        return steps

    async def _commit(self, connection: asyncpg.Connection, steps: list[_Step]) -> dict[str, int]:
        rows = [
            (
                step.known.id,
                step.known.version,
                *to_progress(step.after)[1:],
                *writer(step.known, step.after, self._host),
            )
            for step in steps
        ]
        columns = [list(column) for column in zip(*rows, strict=True)]
        found = await connection.fetch(_ADVANCE, *columns, self._instance)
        return {row["id"]: row["version"] for row in found}

    async def _touch(self, steps: list[_Step]) -> None:
        """Note the activity of those whose last note is old. What fails is made up for by a later commit."""
        late = [
            step.after
            for step in steps
            if step.after.active_at - self._touched.setdefault(step.known.id, step.known.active_at) > TOUCH_INTERVAL
        ]
        while len(self._touched) > MAX_REMEMBERED:
            self._touched.popitem(last=False)
        if not late:
            return
        columns = [ticket.id for ticket in late], [ticket.active_at for ticket in late]
        with suppress(UploadError):  # which is in the log
            await self._transactions.run_statement(
                lambda connection: connection.execute(_TOUCH, *columns, TOUCH_INTERVAL)
            )
            self._touched.update(zip(*columns, strict=True))


def _changed(known: Ticket, change: Change) -> Ticket | None:
    """Return the ticket after its progress; None for other changes and errors, which the newest version decides."""
    after = foreseen(known, change)
    return after if after is not None and is_progress(known, after) else None
