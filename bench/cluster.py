"""What tickets in PostgreSQL cost against SQLite: commits of chunks, new tickets, news between instances, slow uploads.

Stores are measured without a server around them, each instance a process that makes progress of many uploads at once.
The database server is real, syncs, and runs on the same machine: its CPU time is told apart from that of the instances.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import resource
import statistics
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import scale
import throughput
from cost import TICK, cost
from servers import ROOT, Servers

sys.path.insert(0, str(ROOT))

from incoming.core.ticket import Identity, State, Ticket, TicketOptions
from incoming.storage.postgres.opening import open_postgres
from incoming.storage.postgres.store import PostgresStore
from incoming.storage.sqlite.store import SqliteStore
from tests.support.postgres_server import PostgresServer

UPLOADS = 100
"""Uploads of one instance that make progress at once."""

CREATORS = 16
"""Calls of `new_upload` that wait at once."""

SIZE = 1 << 40


@dataclass(frozen=True)
class Commits:
    """`rate` and `created` a second, of all `instances`; CPU seconds and bytes of the log for each commit of a chunk.

    `hot` is the share of updates of progress that wrote no index, `row_bytes` the size of its table for each upload, at
    the end.
    """

    store: str
    instances: int
    rate: float
    created: float
    instance_cpu: float
    server_cpu: float
    log_bytes: float
    hot: float | None = None
    row_bytes: float | None = None


@dataclass(frozen=True)
class Whole:
    """Whole instances that uploads go to: `rate` in MB/s of all, and the processors that each side kept busy.

    `idle` is the idle share of the machine.
    """

    way: str
    instances: int
    rate: float
    instance_cores: float
    server_cores: float
    client_cores: float
    idle: float


@dataclass(frozen=True)
class News:
    """Seconds from a change at one instance until another one has learned of it."""

    median: float
    highest: float


@dataclass(frozen=True)
class Steady:
    """The table of progress after so many `minutes` of `uploads`, with `updates` since the beginning.

    `hot` of them wrote no index; the table has `size` bytes.
    """

    minutes: int
    uploads: int
    updates: int
    hot: int
    size: int


@contextlib.contextmanager
def database() -> Iterator[PostgresServer]:
    server = PostgresServer(fsync="on", max_wal_size="4GB")
    try:
        yield server
    finally:
        server.remove()


async def _open(place: str, instance: str) -> SqliteStore | PostgresStore:
    if place.startswith("postgresql:"):
        return await open_postgres(place, host="bench", instance=instance)
    return SqliteStore(place)


def _new() -> Ticket:
    now = time.time()
    options = TicketOptions("http://app/finished", "secret")
    return Ticket(str(uuid.uuid4()), options, created_at=now, active_at=now, state_since=now)


async def _begun(store: SqliteStore | PostgresStore) -> Ticket:
    ticket = replace(_new(), state=State.UPLOADING, identity=Identity("a", SIZE))
    await store.create(ticket)
    known = await store.get(ticket.id)
    assert known is not None
    return known


async def _progress(store: SqliteStore | PostgresStore, known: Ticket, until: float) -> int:
    """Commit chunks of one upload until then; return how many."""
    count = 0
    while time.monotonic() < until:
        end = (count + 1) << 16
        known = await store.update(
            known.id, lambda its, end=end: its.store([(0, end)], None, time.time()), believed=known, quiet=True
        )  # type: ignore[misc]
        count += 1
    return count


async def _create(store: SqliteStore | PostgresStore, until: float) -> int:
    count = 0
    while time.monotonic() < until:
        await store.create(_new())
        count += 1
    return count


async def _work(place: str, number: int, seconds: float) -> tuple[int, int, float]:
    store = await _open(place, f"instance-{number}")
    try:
        uploads = await asyncio.gather(*(_begun(store) for _ in range(UPLOADS)))
        begin = resource.getrusage(resource.RUSAGE_SELF)
        commits = await asyncio.gather(*(_progress(store, upload, time.monotonic() + seconds) for upload in uploads))
        end = resource.getrusage(resource.RUSAGE_SELF)
        created = await asyncio.gather(*(_create(store, time.monotonic() + seconds) for _ in range(CREATORS)))
    finally:
        await store.close()
    return sum(commits), sum(created), end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime


def _instance(told: tuple[str, int, float]) -> tuple[int, int, float]:
    return asyncio.run(_work(*told))


def _together(place: str, instances: int, seconds: float) -> Sequence[tuple[int, int, float]]:
    with multiprocessing.get_context("spawn").Pool(instances) as pool:
        return pool.map(_instance, [(place, number, seconds) for number in range(instances)], chunksize=1)


def sqlite(directory: Path, seconds: float) -> Commits:
    """Measure one process; all of a machine share one database file."""
    before = Path("/proc/self/io").read_text()
    [(commits, created, cpu)] = [_instance((str(directory / "incoming.sqlite"), 0, seconds))]
    written = _written(Path("/proc/self/io").read_text()) - _written(before)
    return Commits("SQLite", 1, commits / seconds, created / seconds, cpu / commits, 0.0, written / (commits + created))


def _written(text: str) -> int:
    return int(text.split("wchar: ")[1].split("\n")[0])


def postgres(server: PostgresServer, instances: int, seconds: float) -> Commits:
    """Measure several instances at once, and the server beside them."""
    dsn = server.new_schema()
    schema = dsn.rpartition("=")[2]
    asyncio.run(_prepare(dsn))
    pid, before = server.pid, server.execute("SELECT pg_current_wal_lsn()")
    cpu = _server_cpu(pid)
    told = _together(dsn, instances, seconds)
    commits, created = sum(each[0] for each in told), sum(each[1] for each in told)
    log_bytes = float(server.execute(f"SELECT pg_current_wal_lsn() - '{before}'::pg_lsn"))
    hot, updates, pages = _table(server, schema)
    rows = float(server.execute(f"SELECT count(*) FROM {schema}.progress"))
    return Commits(
        "PostgreSQL",
        instances,
        commits / seconds,
        created / seconds,
        sum(each[2] for each in told) / commits,
        (_server_cpu(pid) - cpu) / (commits + created),
        log_bytes / (commits + created),
        hot / max(updates, 1),
        pages / rows,
    )


def _table(server: PostgresServer, schema: str) -> tuple[int, int, int]:
    """Return how many updates of progress wrote no index, how many there were, and the bytes of the table."""
    facts = server.execute(
        f"""SELECT n_tup_hot_upd, n_tup_upd, pg_relation_size(relid) FROM pg_stat_user_tables
            WHERE schemaname = '{schema}' AND relname = 'progress'"""
    )
    hot, updates, size = (int(number) for number in facts.split("|"))
    return hot, updates, size


def _server_cpu(pid: int) -> float:
    """Return the CPU seconds of the server, with those of its processes that have ended (proc(5), cutime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return cost(pid).cpu + (int(fields[13]) + int(fields[14])) / TICK


async def _prepare(dsn: str) -> None:
    await (await open_postgres(dsn, host="bench")).close()


async def _trickle(dsn: str, number: int, seconds: float) -> None:
    """Commit a chunk a second of each of UPLOADS uploads of one instance."""
    store = await _open(dsn, f"instance-{number}")

    async def send(index: int) -> None:
        known = await _begun(store)
        begin = time.monotonic() + index / UPLOADS
        for count in range(1, int(seconds) + 1):
            await asyncio.sleep(begin + count - time.monotonic())
            known = await store.update(
                known.id,
                lambda its, count=count: its.store([(0, count << 16)], None, time.time()),  # type: ignore[misc]
                believed=known,
                quiet=True,
            )

    try:
        await asyncio.gather(*(send(index) for index in range(UPLOADS)))
    finally:
        await store.close()


def steady(server: PostgresServer, minutes: int, instances: int = 2) -> Iterator[Steady]:
    """Look at the table of progress each minute while uploads of several instances send a chunk a second each."""
    dsn = server.new_schema()
    schema = dsn.rpartition("=")[2]
    asyncio.run(_prepare(dsn))
    spawn = multiprocessing.get_context("spawn")
    running = [
        spawn.Process(target=_trickle_alone, args=(dsn, number, 60.0 * minutes + 1)) for number in range(instances)
    ]
    for process in running:
        process.start()
    begin = time.monotonic()
    for minute in range(1, minutes + 1):
        time.sleep(max(0.0, begin + 60 * minute - time.monotonic()))
        hot, updates, size = _table(server, schema)
        yield Steady(minute, instances * UPLOADS, updates, hot, size)
    for process in running:
        process.join()
        if process.exitcode:
            raise RuntimeError("an instance has failed")


def _trickle_alone(dsn: str, number: int, seconds: float) -> None:
    asyncio.run(_trickle(dsn, number, seconds))


async def _hear(dsn: str, changes: int) -> list[float]:
    one, two = await open_postgres(dsn, host="one"), await open_postgres(dsn, host="two")
    heard: asyncio.Queue[str] = asyncio.Queue()
    two.watch(heard.put_nowait)
    ticket = _new()
    await one.create(ticket)
    await heard.get()
    delays = []
    for number in range(changes):
        await asyncio.sleep(0.02)
        begin = time.monotonic()
        changing = asyncio.create_task(
            one.update(ticket.id, lambda known, number=number: replace(known, reason=str(number)))  # type: ignore[misc]
        )
        await heard.get()
        delays.append(time.monotonic() - begin)
        await changing
    await one.close()
    await two.close()
    return delays


def news(server: PostgresServer, changes: int = 200) -> News:
    """Measure how long the change of one ticket takes to another instance, with its commit."""
    delays = asyncio.run(_hear(server.new_schema(), changes))
    return News(statistics.median(delays), max(delays))


def whole(directory: Path, server: PostgresServer, instances: int, name: str, source: Path, expected: str) -> Whole:
    """Measure whole instances of one worker each on one directory, with two clients, shared out among them."""
    url = server.new_schema()
    with contextlib.ExitStack() as stack:
        running = []
        for number in range(instances):
            place = directory / f"instance-{number}"
            place.mkdir()
            (directory / "incoming").mkdir(exist_ok=True)
            (place / "incoming").symlink_to(directory / "incoming")
            environment = {
                "INCOMING_DURABILITY": "power",
                "INCOMING_DATABASE": url,
                "INCOMING_INSTANCE": f"instance-{number}",
            }
            running.append(stack.enter_context(Servers("127.0.0.1", place, environment=environment).product()))
        cpu = _server_cpu(server.pid)
        sent = throughput.send(name, [running[number % instances] for number in range(2)], source, expected)
        cores = (_server_cpu(server.pid) - cpu) / sent.seconds
    return Whole(name, instances, sent.rate, sent.server_cores, cores, sent.client_cores, sent.idle)


def slow_uploads(directory: Path, database_url: str, uploads: int) -> scale.Crowd:
    """Measure many slow uploads on one worker, with `durability: power`; without a URL the tickets are in SQLite."""
    environment = {"INCOMING_DURABILITY": "power", "INCOMING_DATABASE": database_url}
    with Servers("127.0.0.1", directory, environment=environment).product() as servers:
        return scale.crowd(servers, uploads)
