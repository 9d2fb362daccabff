"""Reads of single tickets by one query: all that have gathered while the last one was under way.

Many clients that connect at once would otherwise wait for each other's round trips. Knows no table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from incoming.core.errors import copied

MAX_BATCH = 500
"""Tickets in one query."""

Row = Sequence[Any]


class GroupedReads:
    """One process's. At most one query is under way."""

    def __init__(self, query: Callable[[list[str]], Awaitable[Mapping[str, Row]]]) -> None:
        """`query` returns the rows of these tickets by id, and raises an UploadError."""
        self._query = query
        self._asked: dict[str, list[asyncio.Future[Row | None]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def row(self, ticket_id: str) -> Row | None:
        """Return the ticket's row as it is when the query is made, None if there is none. Raises like the query."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Row | None] = loop.create_future()
        self._asked.setdefault(ticket_id, []).append(answer)
        if self._task is None:
            self._task = loop.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while ids := list(self._asked)[:MAX_BATCH]:
                asked = {ticket_id: self._asked.pop(ticket_id) for ticket_id in ids}
                await self._read(asked)
        finally:
            self._task = None

    async def _read(self, asked: Mapping[str, list[asyncio.Future[Row | None]]]) -> None:
        rows: Mapping[str, Row] = {}
        failed: Exception | None = None
        try:
            rows = await self._query(list(asked))
        except Exception as error:
            failed = error
        for ticket_id, answers in asked.items():
            for answer in answers:
                if answer.done():
                    continue
                if failed is None:
                    answer.set_result(rows.get(ticket_id))
                else:
                    answer.set_exception(copied(failed))
