"""The storage directory: `<root>/<first two of id>/<id>.part`, and `<id>` once the file is complete.

Besides there is `<id>.joined` while the parts of a file are put into their order.

Decides names, how directories are made, and whether this still is the directory that the server was started with. It
knows nothing of what is in a file. Every method blocks and raises OSError.
"""

from __future__ import annotations

import errno
import os

from incoming.core.errors import StorageFailed
from incoming.storage.filesystem.disk import Disk, Facts


class StorageDirectory:
    """One storage directory. Ids were checked by the caller: they become names as they are."""

    def __init__(self, root: str, dir_mode: int, file_mode: int, disk: Disk) -> None:
        """Make the directory if it is missing."""
        self.root = root
        self._dir_mode = dir_mode
        self._file_mode = file_mode
        self._disk = disk
        self._make_root()
        self._root_inode = self._root_facts().inode
        self.kind = disk.kind(root)
        """The type of the file system."""
        self._safe_shards: dict[str, tuple[int, int]] = {}
        """The inode of each shard that this process has synced the name of."""

    def shard(self, ticket_id: str) -> str:
        return f"{self.root}/{ticket_id[:2]}"

    def final(self, ticket_id: str) -> str:
        return f"{self.root}/{ticket_id[:2]}/{ticket_id}"

    def partial(self, ticket_id: str) -> str:
        return f"{self.root}/{ticket_id[:2]}/{ticket_id}.part"

    def joined(self, ticket_id: str) -> str:
        return f"{self.root}/{ticket_id[:2]}/{ticket_id}.joined"

    def create_joined(self, ticket_id: str) -> int:
        """Make an empty file for joining parts, in place of one that a dead process has left; return its descriptor."""
        if self._disk.look(self.joined(ticket_id)) is not None:
            self._disk.unlink(self.joined(ticket_id))
        return self._disk.create(self.joined(ticket_id), self._file_mode)

    def check(self) -> None:
        """Raise StorageFailed if an unmounted disk has left an empty directory behind.

        Then nothing is lost, and nothing may be stored in it.
        """
        if self._root_facts().inode != self._root_inode:
            raise StorageFailed("the storage directory is not the one that the server was started with")

    def create_partial(self, ticket_id: str) -> int:
        """Make an empty partial file, and return its descriptor. Raises FileExistsError."""
        self.check()
        self._disk.make_directory(self.shard(ticket_id), self._dir_mode)
        return self._disk.create(self.partial(ticket_id), self._file_mode)

    def sync_names(self, ticket_id: str) -> None:
        shard = self.shard(ticket_id)
        self._disk.sync_directory(shard)
        facts = self._disk.look(shard)
        if facts is None or self._safe_shards.get(shard) != facts.inode:
            # The shard's own name may be as new as the file, made by whichever worker.
            self._disk.sync_directory(self.root)
            if facts is not None:
                self._safe_shards[shard] = facts.inode

    def _make_root(self) -> None:
        missing = []
        path = self.root
        while self._disk.look(path) is None:
            missing.append(path)
            path = os.path.dirname(path)  # noqa: PTH120
        for directory in reversed(missing):
            self._disk.make_directory(directory, self._dir_mode)

    def _root_facts(self) -> Facts:
        facts = self._disk.look(os.path.realpath(self.root))
        if facts is None:
            raise FileNotFoundError(errno.ENOENT, "the storage directory is gone", self.root)
        return facts
