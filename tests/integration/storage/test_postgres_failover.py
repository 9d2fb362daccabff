"""A standby is promoted that lacks the last commits: no version is believed that is gone, and clients ask anew."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import asyncpg
import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import StorageFailed, TakenOver
from incoming.core.extents import Extents
from incoming.core.ticket import Identity, State, Ticket
from incoming.storage.postgres import watcher
from incoming.storage.postgres.opening import open_postgres
from incoming.storage.postgres.store import PostgresStore
from tests.support.postgres_server import PostgresServer
from tests.support.stores import until
from tests.support.waiting import wait_until
from tests.unit.storage.tickets import NOW, new


class Pair:
    """A primary and its asynchronous standby."""

    def __init__(self) -> None:
        self.primary = PostgresServer()
        self.standby = PostgresServer(self.primary)

    @property
    def dsn(self) -> str:
        return self.primary.dsn("public", self.standby)

    def replicate(self) -> None:
        """Return when the standby has everything."""
        position = self.primary.execute("SELECT pg_current_wal_lsn()")
        query = f"SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn"
        wait_until(lambda: self.standby.execute(query) == "t", "the standby to replay")

    def cut(self) -> None:
        """From now on the standby gets nothing."""
        self.replicate()
        self.standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.execute("SELECT pg_reload_conf()")
        wait_until(lambda: self.standby.execute("SELECT count(*) FROM pg_stat_wal_receiver") == "0", "the cut")

    def fail_over(self) -> None:
        self.primary.stop(immediately=True)
        self.standby.promote()

    def remove(self) -> None:
        for server in (self.primary, self.standby):
            server.remove()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.remove()


@pytest.fixture
def store(io_loop: IOLoop, pair: Pair) -> Iterator[PostgresStore]:
    store = io_loop.run_sync(lambda: open_postgres(pair.dsn, host="here"))
    yield store
    io_loop.run_sync(store.close)


def stored(start: int, end: int, epoch: int | None = None) -> Callable[[Ticket], Ticket]:
    return lambda known: known.store([(start, end)], epoch, NOW)


async def begun(store: PostgresStore) -> Ticket:
    """An upload of which the first 100 bytes are there."""
    ticket = new(state=State.UPLOADING, identity=Identity("a", 1000), epoch=3, session="page")
    await store.create(ticket)
    return await store.update(ticket.id, stored(0, 100))


async def test_what_was_acknowledged_is_restored_and_its_clients_ask_anew(pair: Pair, store: PostgresStore) -> None:
    loop = asyncio.get_running_loop()
    gone_back, ended, untouched = [await begun(store) for _ in range(3)]
    await loop.run_in_executor(None, pair.cut)
    gone_back = await store.update(gone_back.id, stored(100, 200, 3), believed=gone_back)
    await store.update(ended.id, lambda known: known.cancel("by its user", None, NOW))
    await store.create(lost := new(state=State.UPLOADING, identity=Identity("b", 10)))
    heard: list[str] = []
    store.watch(heard.append)
    await loop.run_in_executor(None, pair.fail_over)
    query = f"SELECT count(*) FROM progress WHERE id = '{lost.id}' OR version = {gone_back.version}"
    assert await loop.run_in_executor(None, pair.standby.execute, query) == "0"  # these commits are lost indeed

    with pytest.raises(TakenOver):
        await store.update(gone_back.id, stored(200, 300, 3), believed=gone_back)
    restored = await store.get(gone_back.id)
    assert restored == replace(gone_back, epoch=4, session="", version=restored.version)  # type: ignore[union-attr]
    assert restored.version > gone_back.version
    assert (await store.get(ended.id)).state == State.CANCELLED  # type: ignore[union-attr]
    assert (await store.get(lost.id)).state == State.UPLOADING  # type: ignore[union-attr]
    assert await store.get(untouched.id) == untouched
    await until(lambda: {gone_back.id, untouched.id} <= set(heard), "news of all that may have changed")
    events = store.events()
    assert (events["database/restored_upload"], events["database/failover"]) == (3, 1)


async def test_late_news_of_an_earlier_change_make_nothing_forgotten(
    pair: Pair, io_loop: IOLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a notification that comes late, and by looking what has changed, which finds this process's own changes."""
    monkeypatch.setattr(watcher, "HEARTBEAT", 0.2)
    loop = asyncio.get_running_loop()
    store = await open_postgres(pair.dsn, host="here")
    assert store.watcher is not None
    looks: list[dict[str, int]] = []
    changed = store.tickets_changed
    monkeypatch.setattr(store, "tickets_changed", lambda news: (looks.append(news), changed(news)))
    ticket = await begun(store)
    await loop.run_in_executor(None, pair.cut)

    async def is_seen_with_its_progress() -> bool:
        nonlocal ticket
        looks.clear()
        ticket = await store.update(ticket.id, lambda known: known.noted(NOW, "changed"))
        ticket = await store.update(ticket.id, stored(100, 200, 3), believed=ticket)
        await until(lambda: any(ticket.id in news for news in looks), "a look at what has changed")
        return {ticket.id: ticket.version} in looks

    await until(is_seen_with_its_progress, "a look after the progress")
    store.watcher._hear(None, 0, "", f"{ticket.id} another {ticket.version - 1}")
    assert looks[-1] == {ticket.id: ticket.version - 1}
    await loop.run_in_executor(None, pair.fail_over)
    restored = await store.get(ticket.id)
    await store.close()
    assert restored is not None
    assert restored.extents == Extents([(0, 200)])


async def test_what_needs_receipts_is_not_restored_but_asked_for(pair: Pair, store: PostgresStore) -> None:
    loop = asyncio.get_running_loop()
    ticket = await begun(store)
    await loop.run_in_executor(None, pair.cut)
    await store.update(ticket.id, stored(100, 200, 3), records=lambda _: {"part/2": "etag"})
    await loop.run_in_executor(None, pair.fail_over)
    after = await store.get(ticket.id)
    assert after is not None
    assert (after.extents, after.epoch, after.session) == (Extents([(0, 100)]), 4, "")
    assert await store.records(ticket.id) == {}


async def two_know(pair: Pair, store: PostgresStore, other: PostgresStore) -> Ticket:
    """Return a ticket whose lost commits two instances know: `other` up to byte 200, `store` all of them."""
    ticket = await begun(store)
    await asyncio.get_running_loop().run_in_executor(None, pair.cut)
    heard: list[str] = []
    store.watch(heard.append)
    earlier = await other.update(ticket.id, stored(100, 200))
    await until(lambda: ticket.id in heard, "the news of it")
    assert await store.get(ticket.id) == earlier
    return await store.update(ticket.id, stored(200, 300), believed=earlier)  # progress, of which there are no news


@pytest.mark.parametrize("first", ["other", "store"])
async def test_of_what_two_instances_have_acknowledged_the_latest_is_restored(
    pair: Pair, store: PostgresStore, first: str
) -> None:
    """The one that restores the row first may know less than the other."""
    other = await open_postgres(pair.dsn, host="there")
    ticket = await two_know(pair, store, other)
    assert ticket.extents == Extents([(0, 300)])
    await asyncio.get_running_loop().run_in_executor(None, pair.fail_over)
    for one in (other, store) if first == "other" else (store, other):
        restored = await one.get(ticket.id)
    assert restored is not None
    assert (restored.extents, restored.session) == (Extents([(0, 300)]), "")
    assert restored.epoch == (5 if first == "other" else 4)
    await other.close()


@pytest.mark.parametrize("lost", [False, True])
async def test_what_was_changed_after_it_was_restored_is_joined(pair: Pair, store: PostgresStore, lost: bool) -> None:
    """If the store has lost bytes since, nothing is joined."""
    other = await open_postgres(pair.dsn, host="there")
    ticket = await two_know(pair, store, other)
    await asyncio.get_running_loop().run_in_executor(None, pair.fail_over)
    kept = Extents([(0, 50)])
    await other.update(ticket.id, lambda known: known.lose(kept) if lost else known.store([(500, 600)], None, NOW))
    joined = await store.get(ticket.id)
    assert joined is not None
    assert joined.extents == (kept if lost else Extents([(0, 300), (500, 600)]))
    assert joined.epoch == 5
    await other.close()


async def test_a_change_made_elsewhere_since_the_failover_stays(pair: Pair, store: PostgresStore) -> None:
    loop = asyncio.get_running_loop()
    ticket = await begun(store)
    await loop.run_in_executor(None, pair.cut)
    ticket = await store.update(ticket.id, stored(100, 200, 3), believed=ticket)
    await loop.run_in_executor(None, pair.fail_over)
    other = await open_postgres(pair.dsn, host="there")
    await other.update(ticket.id, stored(300, 400))
    with pytest.raises(TakenOver):
        await store.update(ticket.id, stored(200, 300, 3), believed=ticket)
    after = await other.get(ticket.id)
    assert after is not None
    assert (after.extents, after.epoch) == (Extents([(0, 200), (300, 400)]), 4)
    await other.close()


@pytest.mark.parametrize("is_replicated", [True, False])
async def test_a_commit_whose_answer_was_lost_in_the_failover_is_made_exactly_once(
    pair: Pair, store: PostgresStore, monkeypatch: pytest.MonkeyPatch, is_replicated: bool
) -> None:
    ticket = await begun(store)
    real = asyncpg.transaction.Transaction.commit
    hit = 0

    async def commit(transaction: asyncpg.transaction.Transaction) -> None:
        nonlocal hit
        if hit:
            await real(transaction)
            return
        hit += 1
        loop = asyncio.get_running_loop()
        if not is_replicated:
            await loop.run_in_executor(None, pair.cut)
        await real(transaction)
        if is_replicated:
            await loop.run_in_executor(None, pair.replicate)
        await loop.run_in_executor(None, pair.fail_over)
        transaction._connection.terminate()
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    monkeypatch.setattr(asyncpg.transaction.Transaction, "commit", commit)
    changed = await store.update(ticket.id, lambda known: replace(known, reason=known.reason + "x"))
    assert hit == 1
    assert changed.reason == "x"
    assert (await store.get(ticket.id)) == changed


async def test_instances_follow_while_uploads_run(pair: Pair, store: PostgresStore) -> None:
    loop = asyncio.get_running_loop()
    other = await open_postgres(pair.dsn, host="there")
    tickets = [await begun(store) for _ in range(5)]
    stop = asyncio.Event()

    async def upload(ticket: Ticket, at: int = 100) -> Ticket:
        epoch = ticket.epoch
        while not stop.is_set():
            try:
                known = await store.update(ticket.id, stored(at, at + 1, epoch), believed=ticket)
            except StorageFailed:
                continue  # a slow failover
            except TakenOver:
                # What a client does: ask what there is.
                known = await other.get(ticket.id)  # type: ignore[assignment]
                epoch = known.epoch
            ticket, at = known, max(end for _, end in known.extents)
        return ticket

    work = [asyncio.create_task(upload(ticket)) for ticket in tickets]
    await loop.run_in_executor(None, pair.cut)
    await loop.run_in_executor(None, pair.fail_over)
    count = await counted(store)
    await until(lambda: is_above(store, count), "progress on the new primary", 60)
    stop.set()
    for ticket in await asyncio.gather(*work):
        assert len(ticket.extents) == 1  # no hole is left of what was acknowledged
        assert await other.get(ticket.id) == ticket
    await other.close()


async def counted(store: PostgresStore) -> int:
    found = await store.find((State.UPLOADING,))
    return sum(ticket.extents.size for ticket in found)


async def is_above(store: PostgresStore, count: int) -> bool:
    return await counted(store) > count + 50
