"""New tickets: the checks before one is issued, their order, and what a ticket begins with."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import CallbackTestFailed, ServerShutdown, StorageFull, TooBusy, UploadError
from incoming.core.ticket import State, TicketOptions
from incoming.uploads.ticket_creation import TicketCreation
from tests.support.stores import Clock, Stores

OPTIONS = TicketOptions(signal_finish_url="http://127.0.0.1:9/")


@pytest.fixture
def stores(tmp_path: Path, io_loop: IOLoop) -> Iterator[Stores]:
    stores = Stores(tmp_path / "storage", Clock())
    yield stores
    io_loop.run_sync(stores.close)


class Checks:
    """The checks of a creation: which were made, and what each raises."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.draining = False
        self.full: UploadError | None = None
        self.app: UploadError | None = None

    async def admit(self) -> None:
        self.made.append("space")
        if self.full is not None:
            raise self.full

    async def try_out(self, options: TicketOptions) -> None:
        assert options is OPTIONS
        self.made.append("callback")
        if self.app is not None:
            raise self.app

    def creation(self, stores: Stores) -> TicketCreation:
        return TicketCreation(stores.tickets, lambda: self.draining, self.admit, self.try_out)


async def test_a_new_ticket_is_a_random_id_that_the_store_has(stores: Stores) -> None:
    creation = Checks().creation(stores)
    first, second = await creation.create(OPTIONS), await creation.create(OPTIONS)
    assert first.id != second.id
    assert uuid.UUID(first.id).version == 4
    known = await stores.get(first)
    assert (known.state, known.options, known.size) == (State.NEW, OPTIONS, None)
    assert {known.created_at, known.active_at, known.state_since} == {stores.clock()}


async def test_the_app_is_tried_only_on_request_and_after_the_free_space(stores: Stores) -> None:
    checks = Checks()
    await checks.creation(stores).create(OPTIONS)
    assert checks.made == ["space"]
    await checks.creation(stores).create(OPTIONS, test_callback=True)
    assert checks.made == ["space", "space", "callback"]


@pytest.mark.parametrize("refusal", [StorageFull("no room"), CallbackTestFailed("no answer"), TooBusy("16 trials")])
async def test_a_refused_ticket_is_not_stored(stores: Stores, refusal: UploadError) -> None:
    checks = Checks()
    if isinstance(refusal, StorageFull):
        checks.full = refusal
    else:
        checks.app = refusal
    with pytest.raises(type(refusal)):
        await checks.creation(stores).create(OPTIONS, test_callback=True)
    assert set((await stores.tickets.counts()).values()) == {0}


async def test_a_worker_that_ends_issues_no_tickets(stores: Stores) -> None:
    checks = Checks()
    checks.draining = True
    with pytest.raises(ServerShutdown, match="restarting"):
        await checks.creation(stores).create(OPTIONS)
    assert checks.made == []
