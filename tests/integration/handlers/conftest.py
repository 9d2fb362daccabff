"""A worker inside the test, whose files fail on order; at the end it must hold nothing, and its log is looked at."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from incoming.core.ticket import State, Ticket
from incoming.storage.filesystem.store import FileStore
from tests.support.faulty_stores import FaultyFiles
from tests.support.one_worker import OneWorker, one_worker
from tests.support.stores import until
from tests.support.upload_service_bench import open_descriptors

StartWorker = Callable[..., Awaitable[OneWorker]]
LogLines = Callable[[], list[str]]


@pytest.fixture
def start_worker(tmp_path: Path, io_loop: IOLoop, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartWorker]:
    """Coroutine that starts a worker with these options; its `services.store` is a FaultyFiles."""

    def faulty(root: Path, **others: Any) -> FaultyFiles:
        return FaultyFiles(root, FileStore(root, **others))

    monkeypatch.setattr("incoming.storage.open.FileStore", faulty)
    stack = AsyncExitStack()
    workers: list[OneWorker] = []

    async def start(*options: str) -> OneWorker:
        workers.append(await stack.enter_async_context(one_worker(tmp_path / f"storage-{len(workers)}", *options)))
        return workers[-1]

    yield start

    async def leave() -> None:
        for worker in workers:
            await until(lambda worker=worker: holds(worker) == [], f"nothing being held: {holds(worker)}")  # type: ignore[misc]
        await stack.aclose()

    io_loop.run_sync(leave)


@pytest.fixture
def worker(start_worker: StartWorker, io_loop: IOLoop) -> OneWorker:
    """A worker with default options."""

    async def start() -> OneWorker:
        return await start_worker()

    started: OneWorker = io_loop.run_sync(start)
    return started


def files(worker: OneWorker) -> FaultyFiles:
    store = worker.services.store
    assert isinstance(store, FaultyFiles)
    return store


async def look(worker: OneWorker, ticket_id: str) -> Ticket:
    return await worker.services.upload_service.get_ticket(ticket_id)


def stored(worker: OneWorker, ticket: Ticket) -> bytes:
    return (
        Path(ticket.location.address).read_bytes()
        if ticket.location.address
        else files(worker).part(ticket.id).read_bytes()
    )


async def reaches(worker: OneWorker, ticket_id: str, state: State) -> Ticket:
    async def there() -> Ticket | None:
        ticket = await look(worker, ticket_id)
        return ticket if ticket.state == state else None

    ticket = await until(there, f"state {state}")
    assert ticket is not None
    return ticket


def holds(worker: OneWorker) -> list[object]:
    """What it still has in mind of requests and uploads that are over."""
    services = worker.services
    upload_service = services.upload_service
    return [
        *upload_service._uploads,
        *upload_service._tasks,
        *upload_service._listeners._listeners,
        *services.requests,
        *services.upload_connections._taken,
        *([services.memory_budget.used] if services.memory_budget.used else []),
        *[sender.key for sender in services.connections._clients.values() if sender.open],
        *open_descriptors(services.settings.storage_dir),
    ]


@pytest.fixture
def log_lines(caplog: pytest.LogCaptureFixture) -> LogLines:
    """Gives the records of the server at level info and above, and forgets them; none may have a traceback."""
    caplog.set_level(logging.INFO)

    def take() -> list[str]:
        records = [record for record in caplog.records if record.name.startswith(("incoming", "tornado", "asyncio"))]
        caplog.clear()
        assert not [record for record in records if record.exc_info], "a traceback"
        return [record.getMessage() for record in records]

    return take
