"""SHA-256 of whole files: of what is stored, along the part without a gap, and never of bytes that were lost."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from incoming.core.errors import StorageFailed
from incoming.core.extents import Extents
from incoming.core.ticket import Identity, State, Ticket, TicketOptions
from incoming.uploads import file_digests
from incoming.uploads.file_digests import FileDigests

CONTENT = bytes(range(256)) * 40


class Store:
    """Bytes that are read back; `reads` are the ranges that were asked for."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.reads: list[tuple[int, int]] = []
        self.failures: list[Exception] = []

    async def read(self, ticket: Ticket, start: int, end: int, consume: Callable[[memoryview], None]) -> int:
        self.reads.append((start, end))
        await asyncio.sleep(0)
        data = memoryview(self.content)[start:end]
        consume(data)
        if self.failures:
            raise self.failures.pop()
        return len(data)


def ticket(prefix: int, **changes: Any) -> Ticket:
    known = Ticket("t", TicketOptions("http://app/", digest="sha-256"), 0, 0, 0, state=State.UPLOADING)
    identity = Identity(size=len(CONTENT))
    return replace(known, extents=Extents([(0, prefix)]), identity=identity, store_data="a", **changes)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digests, "READ_SIZE", 1000)
    monkeypatch.setattr(file_digests, "MIN_READ", 500)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def settled(digests: FileDigests) -> None:
    computation = digests._computations["t"]
    if computation.task is not None:
        await computation.task


async def test_each_byte_is_read_once_while_bytes_arrive() -> None:
    store: Any = Store()
    digests = FileDigests(store)
    for prefix in (100, 700, 3000, 3001, 9000):
        digests.follow(ticket(prefix))
        await settled(digests)
    first, rest = [(0, 700), (700, 1700), (1700, 2700), (2700, 3000)], range(3000, 9000, 1000)
    assert store.reads == [*first, *((start, start + 1000) for start in rest)]
    assert await digests.finish(ticket(len(CONTENT)), len(CONTENT)) == sha256(CONTENT)
    assert store.reads[-2:] == [(9000, 10000), (10000, 10240)]
    assert sum(end - start for start, end in store.reads) == len(CONTENT)


async def test_nothing_is_read_unless_the_app_wants_a_digest() -> None:
    store: Any = Store()
    digests = FileDigests(store)
    plain = replace(ticket(len(CONTENT)), options=TicketOptions("http://app/"))
    digests.follow(plain)
    assert await digests.finish(plain, len(CONTENT)) == ""
    assert store.reads == []


async def test_the_digest_of_an_empty_file() -> None:
    store: Any = Store(b"")
    assert await FileDigests(store).finish(ticket(0), 0) == sha256(b"")


@pytest.mark.parametrize("changes", [{"losses": 1}, {"store_data": "another file"}])
async def test_bytes_that_may_be_others_are_read_again(changes: dict[str, Any]) -> None:
    store: Any = Store()
    digests = FileDigests(store)
    digests.follow(ticket(3000))
    await settled(digests)
    store.content = bytes(len(CONTENT))
    assert await digests.finish(replace(ticket(len(CONTENT)), **changes), len(CONTENT)) == sha256(store.content)


async def test_a_new_epoch_alone_is_no_reason_to_read_again() -> None:
    store: Any = Store()
    digests = FileDigests(store)
    digests.follow(ticket(3000))
    await settled(digests)
    assert await digests.finish(ticket(len(CONTENT), epoch=7), len(CONTENT)) == sha256(CONTENT)
    assert store.reads.count((0, 1000)) == 1


async def test_after_a_failure_the_digest_is_computed_again() -> None:
    """How much of the bytes was hashed is not known."""
    store: Any = Store()
    digests = FileDigests(store)
    store.failures = [StorageFailed("EIO")]
    digests.follow(ticket(3000))
    await settled(digests)
    assert store.failures == []
    assert await digests.finish(ticket(len(CONTENT)), len(CONTENT)) == sha256(CONTENT)


async def test_a_file_that_is_too_short_has_no_digest() -> None:
    store: Any = Store(CONTENT[:5000])
    digests = FileDigests(store)
    with pytest.raises(StorageFailed, match="only 5000 bytes could be read, not 6000"):
        await digests.finish(ticket(len(CONTENT)), len(CONTENT))
    store.content = CONTENT
    assert await digests.finish(ticket(len(CONTENT)), len(CONTENT)) == sha256(CONTENT)


async def test_a_store_that_cannot_be_read_is_an_error() -> None:
    unreadable: Any = object()
    with pytest.raises(StorageFailed, match="cannot be read back"):
        await FileDigests(unreadable).finish(ticket(1), 1)


async def test_computations_are_bounded_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digests, "MAX_COMPUTATIONS", 2)
    store: Any = Store()
    digests = FileDigests(store)
    for name in ("a", "b", "c"):
        digests.follow(replace(ticket(3000), id=name))
    assert list(digests._computations) == ["b", "c"]
    await digests.close()
    reads = len(store.reads)
    digests.follow(replace(ticket(9000), id="d"))
    await asyncio.sleep(0)
    assert len(store.reads) == reads
