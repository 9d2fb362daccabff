"""Several ByteStores side by side: files, and object stores by name. Each upload has the one that its ticket names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from incoming.core.errors import StorageFailed
from incoming.core.extents import Extents
from incoming.core.location import Location
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import Buffer, ByteStore, Written, store_of
from incoming.storage.filesystem.store import FileStore


class NamedStores:
    """The ByteStore that consists of others. What only some of them can do is asked of them (`store_of`)."""

    def __init__(self, files: FileStore, objects: Mapping[str, ByteStore]) -> None:
        self._files = files
        self._stores: dict[str, ByteStore] = {"file": files, **objects}

    def of(self, dest_type: str) -> ByteStore:
        if (store := self._stores.get(dest_type)) is not None:
            return store
        close = get_close_matches(dest_type, self._stores, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise StorageFailed(f"object_stores has no {dest_type!r} any more, which uploads still use{hint}")

    @property
    def all(self) -> Sequence[ByteStore]:
        return tuple(self._stores.values())

    async def free_bytes(self) -> int:
        """Return the room of the disk, which the spool and the database need as well."""
        return await self._files.free_bytes()

    async def write(self, ticket: Ticket, pieces: Sequence[tuple[int, Buffer]]) -> Written:
        return await store_of(self, ticket).write(ticket, pieces)

    async def stored(self, ticket: Ticket) -> Extents | None:
        return await store_of(self, ticket).stored(ticket)

    async def complete(self, ticket: Ticket, size: int) -> Location:
        return await store_of(self, ticket).complete(ticket, size)

    async def completed(self, ticket: Ticket, size: int) -> Location | None:
        return await store_of(self, ticket).completed(ticket, size)

    async def kept(self, ticket: Ticket) -> bool:
        return await store_of(self, ticket).kept(ticket)

    async def remove_partial(self, ticket: Ticket) -> None:
        await store_of(self, ticket).remove_partial(ticket)

    async def remove(self, ticket: Ticket) -> None:
        await store_of(self, ticket).remove(ticket)

    async def release(self, ticket: Ticket) -> None:
        await store_of(self, ticket).release(ticket)

    async def close(self) -> None:
        for store in self._stores.values():
            await store.close()
