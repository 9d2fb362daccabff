"""What all uploads together may take: exactly that much, however many ask at once."""

import asyncio
from dataclasses import replace

import pytest

from incoming.core.errors import FileTooLarge, StorageFull, TooBusy
from incoming.core.extents import Extents
from incoming.core.ticket import FINAL, Identity, State, Ticket, TicketOptions
from incoming.storage.quotas import StoreLimits
from incoming.storage.ticket_store import Change
from tests.contract.conftest import OpenTickets
from tests.unit.storage.tickets import new

QUOTA = StoreLimits(quota=1000)


def of_size(ticket: Ticket, size: int | None) -> Ticket:
    return replace(ticket, state=State.UPLOADING, identity=Identity("a", size))


async def test_the_last_byte_of_the_quota_is_given_and_none_beyond(open_tickets: OpenTickets) -> None:
    tickets = await open_tickets(limits=QUOTA)
    first, second, third = new(), new(), new()
    for ticket in (first, second, third):
        await tickets.create(ticket)
    await tickets.update(first.id, lambda known: of_size(known, 600))
    with pytest.raises(StorageFull, match=r"no room for 401 bytes now: all .* may have 1000 bytes"):
        await tickets.update(second.id, lambda known: of_size(known, 401))
    assert (await tickets.get(second.id)).state == State.NEW  # type: ignore[union-attr]
    await tickets.update(second.id, lambda known: of_size(known, 400))
    with pytest.raises(StorageFull):
        await tickets.update(third.id, lambda known: of_size(known, 1))
    await tickets.update(third.id, lambda known: of_size(known, 0))


async def test_what_can_never_be_taken_is_said_to_be_too_large(open_tickets: OpenTickets) -> None:
    tickets = await open_tickets(limits=QUOTA)
    ticket = new()
    await tickets.create(ticket)
    with pytest.raises(FileTooLarge, match="1001 bytes, all files together may have 1000"):
        await tickets.update(ticket.id, lambda known: of_size(known, 1001))
    await tickets.update(ticket.id, lambda known: of_size(known, 1000))


async def test_parallel_ones_do_not_pass_it_together(open_tickets: OpenTickets) -> None:
    workers = [await open_tickets(limits=QUOTA) for _ in range(3)]
    many = [new() for _ in range(30)]
    await asyncio.gather(*(workers[0].create(ticket) for ticket in many))

    async def ask(number: int, ticket: Ticket) -> bool:
        try:
            await workers[number % 3].update(ticket.id, lambda known: of_size(known, 90))
        except StorageFull:
            return False
        return True

    assert sum(await asyncio.gather(*(ask(number, ticket) for number, ticket in enumerate(many)))) == 11


async def test_bytes_of_a_file_of_unknown_size_count_as_they_come(open_tickets: OpenTickets) -> None:
    tickets = await open_tickets(limits=QUOTA)
    ticket = new()
    await tickets.create(ticket)

    def arrived(count: int) -> Change:
        return lambda known: replace(of_size(known, None), extents=Extents([(0, count)]))

    await tickets.update(ticket.id, arrived(1000))
    with pytest.raises(FileTooLarge):
        await tickets.update(ticket.id, arrived(1001))


def without_max_size(count: int, size: int) -> Change:
    return lambda known: replace(of_size(known, size), extents=Extents([(0, count)]))


async def test_a_claimed_size_without_a_maximum_of_the_app_reserves_step_by_step(
    open_tickets: OpenTickets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.core.size_limit.RESERVATION_STEP", 100)
    tickets = await open_tickets(limits=QUOTA)
    greedy, honest = new(), new()
    await tickets.create(greedy)
    await tickets.create(honest)
    await tickets.update(greedy.id, without_max_size(0, 1000))
    assert (await tickets.get(greedy.id)).reserved == 100  # type: ignore[union-attr]
    # Others have what it does not send.
    await tickets.update(honest.id, without_max_size(850, 850))
    with pytest.raises(StorageFull, match="no room for 200 bytes now"):
        await tickets.update(greedy.id, without_max_size(100, 1000))
    known = await tickets.update(greedy.id, without_max_size(99, 1000))
    assert known.reserved == 100
    await tickets.update(honest.id, lambda known: replace(known, state=State.FINISHED))
    for count in range(100, 1000, 100):
        known = await tickets.update(greedy.id, without_max_size(count, 1000))
        assert known.reserved == count + 100
    assert (await tickets.update(greedy.id, without_max_size(1000, 1000))).reserved == 1000


async def test_a_claimed_size_beyond_the_quota_is_refused_at_once(
    open_tickets: OpenTickets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.core.size_limit.RESERVATION_STEP", 100)
    tickets = await open_tickets(limits=QUOTA)
    ticket = new()
    await tickets.create(ticket)
    with pytest.raises(FileTooLarge, match="1001 bytes, all files together may have 1000"):
        await tickets.update(ticket.id, without_max_size(0, 1001))


async def test_a_size_within_the_maximum_of_the_app_is_reserved_whole(
    open_tickets: OpenTickets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.core.size_limit.RESERVATION_STEP", 100)
    tickets = await open_tickets(limits=QUOTA)
    ticket = replace(new(), options=TicketOptions("http://app/", max_size=700))
    await tickets.create(ticket)
    assert (await tickets.update(ticket.id, without_max_size(0, 700))).reserved == 700


@pytest.mark.parametrize("end", sorted(FINAL))
async def test_what_ends_gives_its_room_back(open_tickets: OpenTickets, end: State) -> None:
    tickets = await open_tickets(limits=QUOTA)
    ended, other = new(), new()
    await tickets.create(ended)
    await tickets.create(other)
    await tickets.update(ended.id, lambda known: of_size(known, 1000))
    await tickets.update(ended.id, lambda known: replace(known, state=end))
    await tickets.update(other.id, lambda known: of_size(known, 1000))


async def test_the_kept_file_of_a_failed_handover_still_counts(open_tickets: OpenTickets) -> None:
    tickets = await open_tickets(limits=QUOTA)
    failed, other = new(), new()
    await tickets.create(failed)
    await tickets.create(other)
    await tickets.update(failed.id, lambda known: replace(of_size(known, 1000), file_kept=True))
    await tickets.update(failed.id, lambda known: replace(known, state=State.FAILED))
    with pytest.raises(StorageFull):
        await tickets.update(other.id, lambda known: of_size(known, 1))
    await tickets.update(failed.id, lambda known: replace(known, file_kept=False))
    await tickets.update(other.id, lambda known: of_size(known, 1))
    await tickets.forget(other.id)
    assert (await tickets.get(failed.id)).reserved == 0  # type: ignore[union-attr]


def asked_by(address: str) -> Ticket:
    return replace(new(), options=TicketOptions("http://app/", requested_by=address))


async def test_one_backend_does_not_use_up_the_tickets_of_another(open_tickets: OpenTickets) -> None:
    tickets = await open_tickets(limits=StoreLimits(tickets=3))
    first = [asked_by("10.0.0.1") for _ in range(3)]
    for ticket in first:
        await tickets.create(ticket)
    late = asked_by("10.0.0.1")
    with pytest.raises(TooBusy, match=r"10\.0\.0\.1 has 3 unfinished uploads, which is the limit"):
        await tickets.create(late)
    assert await tickets.get(late.id) is None
    await tickets.create(asked_by("10.0.0.2"))
    await tickets.update(first[0].id, lambda known: replace(known, state=State.CANCELLED))
    await tickets.create(late)
    with pytest.raises(TooBusy):
        await tickets.create(asked_by("10.0.0.1"))
    await tickets.forget(first[1].id)
    await tickets.create(asked_by("10.0.0.1"))


async def test_parallel_backends_do_not_pass_the_limit_together(open_tickets: OpenTickets) -> None:
    workers = [await open_tickets(limits=StoreLimits(tickets=10)) for _ in range(3)]
    asked = (workers[number % 3].create(asked_by("::1")) for number in range(40))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert outcomes.count(None) == 10
    assert all(isinstance(outcome, TooBusy) for outcome in outcomes if outcome is not None)


async def test_a_ticket_whose_size_is_known_counts_from_the_beginning(open_tickets: OpenTickets) -> None:
    tickets = await open_tickets(limits=QUOTA)
    sized = [replace(new(), identity=Identity(size=size)) for size in (600, 401, 1001, 400)]
    await tickets.create(sized[0])
    with pytest.raises(StorageFull, match="no room for 401 bytes now"):
        await tickets.create(sized[1])
    with pytest.raises(FileTooLarge, match="1001 bytes, all files together may have 1000"):
        await tickets.create(sized[2])
    await tickets.create(sized[3])
    assert await tickets.get(sized[1].id) is None
