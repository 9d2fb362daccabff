"""Operators' changes in the storage directory while uploads run: partial files are removed, truncated, replaced and
linked; foreign files are among them, also under the server's names.
"""

import errno
import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.system.faults.fleet import Fleet, Upload, chance_of

PAUSE = 1.5
"""Seconds between two acts, on average."""

MOST_ACTS = 2
"""On one upload, so that many are harmed and none is harmed for ever."""


class ForeignFile:
    """A file that the server did not create and must not touch."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        self._content = content
        path.parent.mkdir(exist_ok=True)
        with path.open("xb") as file:
            try:
                file.write(content)
                file.flush()
            except OSError:  # the disk is full
                path.unlink()
                raise
        self._inode = path.stat().st_ino

    def problems(self) -> list[str]:
        try:
            if self.path.stat().st_ino != self._inode or self.path.read_bytes() != self._content:
                return [f"the foreign file {self.path.name} was changed"]
        except FileNotFoundError:
            return [f"the foreign file {self.path.name} was removed"]
        return []


class OperatorFaults:
    """Act in a thread from `start` to `stop`, on the uploads of the fleet that allow it."""

    def __init__(self, storage_dir: Path, fleet: Fleet, seed: int, note: Callable[[str], None]) -> None:
        self.seed = seed
        self.hits: Counter[str] = Counter()
        self.problems: list[str] = []
        self.left_behind: set[int] = set()
        """Inodes of files that this operator has put in the place of ours."""
        self.at_work = threading.Lock()
        """Held during each act."""
        self._storage_dir = storage_dir
        self._fleet = fleet
        self._chance = chance_of(seed, "operator")
        self._note = note
        self._acts: Counter[str] = Counter()
        self._foreign: list[ForeignFile] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End, and remove its own files after a check that they are unchanged."""
        self._stopping.set()
        self._thread.join(30)
        self.check()

    def check(self) -> None:
        for foreign in self._foreign:
            self.problems += foreign.problems()

    @property
    def foreign_names(self) -> set[str]:
        return {foreign.path.name for foreign in self._foreign}

    def _run(self) -> None:
        acts = [self.unlink, self.truncate, self.replace, self.link, self.put_a_foreign_file, self.take_the_last_name]
        while not self._stopping.wait(self._chance.uniform(0.0, 2 * PAUSE)):
            act = self._chance.choice(acts)
            try:
                with self.at_work:
                    hit = act()
                self.hits[act.__name__.replace("_", " ")] += hit
            except FileNotFoundError:
                pass  # the upload has ended meanwhile
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            except Exception as error:
                self.problems.append(f"operator: {act.__name__}: {error!r}")

    # --- partial files ------------------------------------------------------------------------------------------------

    def _victim(self, act: str) -> tuple[Upload, Path] | None:
        uploads = [upload for upload in self._fleet.sending() if upload.open_to_operators]
        uploads = [upload for upload in uploads if self._acts[upload.ticket_id] < MOST_ACTS]
        if not uploads:
            return None
        upload = self._chance.choice(uploads)
        self._acts[upload.ticket_id] += 1
        upload.allow_losses(act)
        self._note(f"operator: {act} {upload.ticket_id}")
        return upload, self._path(upload.ticket_id + ".part")

    def _path(self, name: str) -> Path:
        return self._storage_dir / name[:2] / name

    def unlink(self) -> bool:
        if (victim := self._victim("unlinked")) is None:
            return False
        victim[1].unlink()
        return True

    def truncate(self) -> bool:
        if (victim := self._victim("truncated")) is None:
            return False
        length = self._chance.randint(0, victim[1].stat().st_size)
        os.truncate(victim[1], length)
        self._note(f"operator: to {length} bytes")
        return True

    def replace(self) -> bool:
        """Replace a file by another one of the same length, as a restored backup would."""
        if (victim := self._victim("replaced")) is None:
            return False
        other = self._storage_dir / "restored"
        other.write_bytes(self._chance.randbytes(victim[1].stat().st_size))
        self.left_behind.add(other.stat().st_ino)
        other.replace(victim[1])
        return True

    def link(self) -> bool:
        """Add a second name, as a backup by hard links does, and remove it after a moment."""
        if (victim := self._victim("linked")) is None:
            return False
        backup = self._storage_dir / f"backup-{victim[1].name}"
        os.link(victim[1], backup)
        self._stopping.wait(self._chance.uniform(0.5, 2))
        backup.unlink()
        return True

    # --- foreign files ------------------------------------------------------------------------------------------------

    def put_a_foreign_file(self) -> bool:
        shard = f"{self._chance.randrange(256):02x}"
        name = str(uuid.UUID(bytes=self._chance.randbytes(16), version=4))
        name = self._chance.choice((f"{shard}{name[2:]}", f"{shard}{name[2:]}.part", f"{name[2:]}-notes.txt"))
        self._foreign.append(ForeignFile(self._storage_dir / shard / name, self._chance.randbytes(1000)))
        return True

    def take_the_last_name(self) -> bool:
        """Create another file under the upload's final name, for a while. The server may remove or replace it, but must
        not hand it over.
        """
        if (victim := self._victim("last name taken")) is None:
            return False
        upload, _ = victim
        path = self._path(upload.ticket_id)
        try:
            foreign = ForeignFile(path, self._chance.randbytes(len(upload.content)))
        except FileExistsError:
            return False
        self._stopping.wait(self._chance.uniform(0.5, 2))
        if not foreign.problems():
            path.unlink()
        return True
