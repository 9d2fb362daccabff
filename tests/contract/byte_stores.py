"""The kinds of ByteStore that the contract is tried on, each on a place of its own that several stores may share."""

import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Protocol

from incoming.core.location import Location
from incoming.core.ticket import Ticket
from incoming.settings.object_stores import ObjectStore
from incoming.storage.byte_store import ByteStore, Record
from incoming.storage.filesystem.store import FileStore
from incoming.storage.memory.files import MemoryByteStore, MemoryFile
from incoming.storage.s3.bucket.bucket_access import BucketAccess
from incoming.storage.s3.bucket.spool import Spool
from incoming.storage.s3.store import S3Bytes
from tests.support.ceph_cluster import ACCESS_KEY, MIN_PART, SECRET_KEY, ceph_cluster, s3_client
from tests.support.part_store import PartStore
from tests.support.scripted_s3 import ScriptedS3
from tests.support.versity_gateway import MIN_PART as VERSITY_MIN_PART
from tests.support.versity_gateway import versity_gateway

PART = 8
"""Bytes of a part of the store that buffers: less than the tests write."""


class Place(Protocol):
    """What stores share, as workers do."""

    def open(self) -> ByteStore: ...

    def read(self, location: Location) -> bytes:
        """Return what an application finds there."""
        ...

    def take(self, location: Location) -> None:
        """Move the file away, as an application does."""
        ...


class Directory:
    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self) -> ByteStore:
        return FileStore(self.root)

    def read(self, location: Location) -> bytes:
        assert location.kind == "file"
        return Path(location.address).read_bytes()

    def take(self, location: Location) -> None:
        Path(location.address).unlink()


class PartsInDirectory(Directory):
    def open(self) -> ByteStore:
        return PartStore(self.root, part_size=PART)


class Memory:
    def __init__(self, root: Path) -> None:
        self.files: dict[str, MemoryFile] = {}

    def open(self) -> ByteStore:
        return MemoryByteStore(self.files)

    def read(self, location: Location) -> bytes:
        assert location.kind == "memory"
        return bytes(self.files[location.address].content)

    def take(self, location: Location) -> None:
        del self.files[location.address]


class Records:
    """What stores want to be kept with tickets, as a TicketStore does."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, str]] = defaultdict(dict)

    async def of(self, ticket_id: str) -> dict[str, str]:
        return dict(self._records[ticket_id])

    def keep(self, ticket: Ticket, records: Sequence[Record]) -> None:
        """Keep those of bytes that the ticket has."""
        for record in records:
            if ticket.extents.covers(*record.within) == record.stale:
                continue
            if record.value is None:
                self._records[ticket.id].pop(record.name, None)
            else:
                self._records[ticket.id][record.name] = record.value


RECORDS = Records()


@asynccontextmanager
async def no_lease(ticket: Ticket) -> AsyncIterator[None]:
    """Let several complete an upload at once: they must all be right."""
    yield


class Bucket:
    """A bucket of an object store at `url`, whose smallest part has `part` bytes."""

    def __init__(self, root: Path, url: str, name: str, part: int) -> None:
        self._store = ObjectStore(
            name="s3", bucket=name, endpoint=url, access_key=ACCESS_KEY, secret_key=SECRET_KEY, part_size=part
        )
        self._root = root
        self._s3 = s3_client(url)

    def open(self) -> ByteStore:
        self._root.mkdir(exist_ok=True)
        return S3Bytes(BucketAccess(self._store, Spool(self._root, 2**20)), RECORDS.of, no_lease)

    def read(self, location: Location) -> bytes:
        content: bytes = self._s3.get_object(**self._named(location))["Body"].read()
        return content

    def take(self, location: Location) -> None:
        self._s3.delete_object(**self._named(location))

    def _named(self, location: Location) -> dict[str, str]:
        assert location.kind == "s3"
        bucket, _, key = location.address.removeprefix("s3://").partition("/")
        assert bucket == self._store.bucket
        return {"Bucket": bucket, "Key": key}


@cache
def scripted() -> ScriptedS3:
    """An object store in this process, whose parts may be as small as those of the store in a directory."""
    store = ScriptedS3().start()
    store.min_part = PART
    return store


def scripted_bucket(root: Path) -> Bucket:
    return Bucket(root, scripted().url, scripted().new_bucket(f"test-{uuid.uuid4().hex}"), PART)


def ceph_bucket(root: Path) -> Bucket:
    cluster = ceph_cluster()
    return Bucket(root, cluster.url, cluster.new_bucket(), MIN_PART)


def versity_bucket(root: Path) -> Bucket:
    gateway = versity_gateway()
    return Bucket(root, gateway.url, gateway.new_bucket(), VERSITY_MIN_PART)


PLACES: dict[str, Callable[[Path], Place]] = {
    "filesystem": Directory,
    "memory": Memory,
    "parts": PartsInDirectory,
    "scripted_s3": scripted_bucket,
    "ceph": ceph_bucket,
    "versitygw": versity_bucket,
}
