"""Parts that clients send straight to an object store: who gets URLs, and what counts as arrived."""

import pytest

from incoming.core.errors import BadRange, StorageFailed, TakenOver, UploadCancelled
from incoming.core.extents import Extents
from incoming.core.ticket import State
from incoming.storage.byte_store import BytesLost, SignedPart
from incoming.uploads.direct import REFRESH_TIMEOUT
from tests.support.stores import until
from tests.unit.uploads.direct_store import PART, DirectWorker


def numbers(signed: list[SignedPart]) -> list[int]:
    return [part.number for part in signed]


async def test_each_part_gets_a_url_for_its_exact_length() -> None:
    worker = DirectWorker()
    upload = await worker.begun(45)
    signed = await worker.sign(upload, 1, 5)
    assert [(part.number, part.range) for part in signed] == [(1, (0, 10)), (5, (40, 45))]
    assert (await worker.known()).store_data, "where the parts go is known before a URL is given"


async def test_nothing_is_signed_that_has_arrived_or_is_not_in_the_file() -> None:
    """URLs are never for more bytes than the file has left."""
    worker = DirectWorker()
    upload = await worker.begun(45)
    await worker.sign(upload, 1, 2)
    worker.store.sent = {1: PART}
    await worker.look(upload)
    signed = await worker.sign(upload, 1, 2, 3, 4, 5)
    assert numbers(signed) == [2, 3, 4, 5]
    assert Extents(part.range for part in signed) == Extents(upload.ticket.extents.missing(0, 45))
    with pytest.raises(BadRange):
        await worker.sign(upload, 6)


async def test_only_the_epoch_that_holds_the_ticket_gets_urls() -> None:
    worker = DirectWorker()
    first = await worker.begun()
    epoch = first.ticket.epoch
    await worker.sign(first, 1)
    await worker.open("session-2")
    for call in (worker.sign(first, 2, epoch=epoch), worker.direct.look(first, epoch)):
        with pytest.raises(TakenOver):
            await call
    assert worker.store.signed == [1]


async def test_no_url_is_given_when_the_epoch_ends_while_it_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = DirectWorker()
    upload = await worker.begun()
    epoch, sign = upload.ticket.epoch, worker.store.sign_parts

    async def overtaken(*given: object) -> list[SignedPart]:
        signed = await sign(*given)  # type: ignore[arg-type]
        await worker.open("session-2")
        return signed

    monkeypatch.setattr(worker.store, "sign_parts", overtaken)
    with pytest.raises(TakenOver):
        await worker.sign(upload, 1, epoch=epoch)
    assert worker.store.signed == [1]


async def test_no_url_is_given_for_a_part_that_arrives_while_it_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = DirectWorker()
    upload = await worker.begun()
    await worker.sign(upload, 1, 2)
    sign = worker.store.sign_parts

    async def overtaken(*given: object) -> list[SignedPart]:
        signed = await sign(*given)  # type: ignore[arg-type]
        worker.store.sent = {1: PART}
        await worker.look(upload)
        return signed

    monkeypatch.setattr(worker.store, "sign_parts", overtaken)
    assert numbers(await worker.sign(upload, 1, 2)) == [2]


async def test_what_another_epoch_has_seen_does_not_count_for_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken over between the look at the store and the commit: the new session looks by itself."""
    worker = DirectWorker()
    upload = await worker.begun()
    epoch, look = upload.ticket.epoch, worker.store.seen_parts
    await worker.sign(upload, 1)
    worker.store.sent = {1: PART}

    async def overtaken(*given: object) -> object:
        seen = await look(*given)  # type: ignore[arg-type]
        await worker.tickets.update(worker.ticket.id, lambda known: known.open("session-2", None, 0.0))
        return seen

    monkeypatch.setattr(worker.store, "seen_parts", overtaken)
    with pytest.raises(TakenOver):
        await worker.direct.look(upload, epoch)
    assert (await worker.known()).extents == Extents()


@pytest.mark.parametrize("length", [0, PART - 1, PART + 1])
async def test_a_part_of_another_length_has_not_arrived(length: int) -> None:
    worker = DirectWorker()
    upload = await worker.begun()
    await worker.sign(upload, 1, 2)
    worker.store.sent = {1: length, 2: PART}
    assert await worker.look(upload) == Extents([(PART, 2 * PART)])
    assert numbers(await worker.sign(upload, 1, 2)) == [1]


async def test_the_file_is_complete_when_its_last_part_was_seen() -> None:
    worker = DirectWorker()
    upload = await worker.begun(45)
    await worker.sign(upload, 1, 2, 3, 4, 5)
    worker.store.sent = {1: PART, 2: PART, 3: PART, 4: PART}
    await worker.look(upload)
    assert not (await worker.known()).complete
    worker.store.sent[5] = 5
    await worker.look(upload, after=4)

    async def has_arrived() -> bool:
        return (await worker.known()).state == State.ARRIVED

    await until(has_arrived, "the file")


async def test_a_new_session_is_told_of_parts_whose_sender_left_without_a_word() -> None:
    worker = DirectWorker()
    upload = await worker.begun()
    await worker.sign(upload, 1, 2)
    worker.store.sent = {2: PART}
    again = await worker.open("session-2")
    await worker.direct.refresh(again)
    assert again.ticket.extents == Extents([(PART, 2 * PART)])


async def test_a_hello_does_not_wait_for_a_store_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = DirectWorker()
    upload = await worker.begun()
    await worker.sign(upload, 1)
    calls = []

    async def fails(*given: object) -> None:
        calls.append(given)
        raise StorageFailed("the store is away")

    monkeypatch.setattr(worker.store, "seen_parts", fails)
    await worker.direct.refresh(upload)
    monkeypatch.setattr("incoming.uploads.direct.REFRESH_TIMEOUT", 0.0)

    async def hangs(*given: object) -> None:
        calls.append(given)
        await until(lambda: False, "nothing", REFRESH_TIMEOUT)

    monkeypatch.setattr(worker.store, "seen_parts", hangs)
    await worker.direct.refresh(upload)
    assert len(calls) == 2
    assert caplog.text == "", "it is no news for operators"


async def test_an_upload_that_the_store_has_dropped_begins_again() -> None:
    worker = DirectWorker()
    upload = await worker.begun()
    await worker.sign(upload, 1)
    worker.store.sent = {1: PART}
    await worker.look(upload)
    worker.store.is_aborted = True
    with pytest.raises(BytesLost):
        await worker.look(upload)
    assert (await worker.known()).extents == Extents(), "nothing is claimed that is not there"


async def test_an_upload_that_has_ended_gets_no_urls() -> None:
    worker = DirectWorker()
    upload = await worker.begun()
    epoch = upload.ticket.epoch
    await worker.sign(upload, 1)
    await worker.service.cancel(worker.ticket.id, "changed my mind", notify_app=False)
    with pytest.raises(UploadCancelled):
        await worker.sign(upload, 2, epoch=epoch)
    worker.store.sent = {1: PART}
    with pytest.raises(UploadCancelled):
        await worker.direct.look(upload, epoch)


async def test_the_operator_and_the_application_can_forbid_it() -> None:
    worker = DirectWorker()
    upload = await worker.begun(direct=False)
    assert not worker.direct.offered(upload.ticket)
    assert await worker.sign(upload, 1) == []
    worker = DirectWorker()
    upload = await worker.begun()
    assert worker.direct.offered(upload.ticket)
    worker.store.offers_direct = False
    assert not worker.direct.offered(upload.ticket)
    assert (await worker.sign(upload, 1), worker.store.signed) == ([], [])


async def test_urls_are_given_at_the_rate_and_signed_no_sooner() -> None:
    """The time of a URL that waits for the rate would run out before its client gets it."""
    worker = DirectWorker()
    upload = await worker.begun(20 * PART, max_rate=PART)
    began, given = worker.clock(), []
    async for batch in worker.direct.sign(upload, upload.ticket.epoch, tuple(range(1, 21))):
        assert worker.store.signed[-len(batch) :] == numbers(batch), "signed just now"
        given.append((round(worker.clock() - began), len(batch)))
    assert given[0] == (0, 6), "a few seconds of the rate come at once"
    assert sum(count for _, count in given) == 20
    assert given[-1][0] >= 12
    assert all(count == 1 for _, count in given[1:])
