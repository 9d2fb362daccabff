"""However many tombstones there are, a question costs the database the same: counted in its steps, not in seconds."""

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from incoming.core.extents import Extents
from incoming.core.ticket import FINAL, RECEIVING, Identity, State, Ticket
from incoming.monitoring.upload_overview import ENDED, UNDER_WAY
from incoming.storage.quotas import StoreLimits
from incoming.storage.sqlite import watcher
from incoming.storage.sqlite.store import SqliteStore
from tests.unit.storage.tickets import NOW, fill, new, owing

FEW, MANY = 500, 8000
"""The few are more than any of the questions is answered with."""

LIMIT = 100
LEEWAY = 1.05
"""A walk to a place in an index passes a few entries more or less."""

Question = Callable[[SqliteStore, Ticket], Awaitable[object]]


def tombstones(count: int) -> list[Ticket]:
    """So many finished uploads of which everybody knows, and a few that failed or were cancelled."""
    ends = [State.FINISHED] * 8 + [State.FAILED, State.CANCELLED]
    return [
        new(
            version=number + 1,
            state=ends[number % 10],
            state_since=NOW - count + number,
            active_at=NOW - count + number,
        )
        for number in range(count)
    ]


async def create(tickets: SqliteStore, ticket: Ticket) -> object:
    return await tickets.create(new())


async def hello(tickets: SqliteStore, ticket: Ticket) -> object:
    return await tickets.update(
        ticket.id, lambda known: known.identify(Identity(name="a", size=9)).open("s", None, NOW)
    )


async def store_bytes(tickets: SqliteStore, ticket: Ticket) -> object:
    known = await tickets.update(ticket.id, lambda known: replace(known, state=State.UPLOADING))
    return await tickets.update(
        ticket.id, lambda known: replace(known, extents=Extents([(0, 5)])), durable=False, quiet=True, believed=known
    )


async def end(tickets: SqliteStore, ticket: Ticket) -> object:
    return await tickets.update(ticket.id, lambda known: replace(known, state=State.FINISHED))


async def forget(tickets: SqliteStore, ticket: Ticket) -> object:
    return await tickets.forget(ticket.id)


async def look_elsewhere(tickets: SqliteStore, ticket: Ticket) -> object:
    """What a worker's watcher asks ten times a second."""
    version = (await tickets.get(ticket.id)).version  # type: ignore[union-attr]
    return await tickets._read(lambda connection: connection.execute(watcher.NEWS, (version - 1,)).fetchall())


QUESTIONS: dict[str, Question] = {
    "create": create,
    "hello": hello,
    "store": store_bytes,
    "end": end,
    "forget": forget,
    "watch": look_elsewhere,
    "get": lambda tickets, ticket: tickets.get(ticket.id),
    "claim": lambda tickets, ticket: tickets.claim(60, 10, 3600),
    "next_due": lambda tickets, ticket: tickets.next_due(),
    "older": lambda tickets, ticket: tickets.find(tuple(FINAL), state_before=NOW, after=NOW - 200, limit=LIMIT),
    "idle": lambda tickets, ticket: tickets.find(tuple(RECEIVING), idle_since=NOW, limit=LIMIT),
    "counts": lambda tickets, ticket: tickets.counts(),
    "under way": lambda tickets, ticket: tickets.latest(UNDER_WAY, LIMIT // 2),
    "ended": lambda tickets, ticket: tickets.latest(ENDED, LIMIT // 2),
    "search": lambda tickets, ticket: tickets.search(UNDER_WAY[:-1], "a text", LIMIT),
    "matching": lambda tickets, ticket: tickets.matching(ticket.id[:8], LIMIT),
    "note": lambda tickets, ticket: tickets.note("worker", "{}", {"bytes/http": 1}, 1),
    "notes": lambda tickets, ticket: tickets.notes(60),
    "swept": lambda tickets, ticket: tickets.swept(State.FINISHED),
    "note swept": lambda tickets, ticket: tickets.note_swept(State.FINISHED, NOW),
    "service": lambda tickets, ticket: tickets.note_service(),
    "boot": lambda tickets, ticket: tickets.distrust_after_boot("another boot"),
    "check": lambda tickets, ticket: tickets.check(),
}


async def steps(path: Path, question: Question, dead: int) -> int:
    """Instructions of SQLite's virtual machine."""
    tickets = SqliteStore(path, limits=StoreLimits(quota=10**15, tickets=10**6))
    try:
        fill(path, tombstones(dead))
        await tickets.create(ticket := new())
        await tickets.create(owing(NOW))
        made = 0

        def count() -> int:
            nonlocal made
            made += 1
            return 0

        connections: list[sqlite3.Connection] = [tickets._reading, tickets._writer._connection]
        for connection in connections:
            connection.set_progress_handler(count, 1)
        await question(tickets, ticket)
        for connection in connections:
            connection.set_progress_handler(None, 1)
        return made
    finally:
        await tickets.close()


@pytest.mark.parametrize("name", QUESTIONS)
async def test_a_question_costs_the_same_among_many_tombstones(name: str, tmp_path: Path) -> None:
    few = await steps(tmp_path / "few.sqlite", QUESTIONS[name], FEW)
    many = await steps(tmp_path / "many.sqlite", QUESTIONS[name], MANY)
    assert 0 < many <= few * LEEWAY, f"{few} steps among {FEW}, {many} among {MANY}"
