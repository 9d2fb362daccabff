"""The folder of files that the app has received. Decides under which name a file is kept and which names are served."""

import contextlib
import errno
import itertools
import os
import re
import shutil
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

_MAX_NAME_BYTES = 200  # file systems allow 255; leaves room for " (2)"
_MAX_EXTENSION_BYTES = 20

# Control and format characters, surrogates, line and paragraph separators: they forge log lines and, as U+202E does,
# make "gpj.exe" read "exe.jpg". The two joiners are letters' and emoji's own.
_UNWANTED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"


@dataclass(frozen=True)
class StoredFile:
    """One line of the list of uploaded files."""

    name: str
    size: int


class UploadsFolder:
    """A directory, made when it is missing. Names that begin with a dot are ours: files that are still being copied."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.directory.mkdir(exist_ok=True)

    def take(self, source: Path, wanted_name: str) -> str:
        """Move a file into the folder and return its name there.

        An existing file is never overwritten: the second "name.ext" becomes "name (2).ext". When it fails, `source` is
        where it was and the folder as it was.
        """
        name = harmless_name(wanted_name)
        try:
            return self._rename(source, name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        # Another file system: copy first, so that the name appears only when all of the file is there.
        copy = self.directory / f".{uuid.uuid4()}.part"
        try:
            _copy_to_disk(source, copy)
            name = self._rename(copy, name)
        finally:
            copy.unlink(missing_ok=True)
        try:
            source.unlink()
        except OSError:
            (self.directory / name).unlink()  # or the next try would leave one more copy
            raise
        return name

    def files(self) -> list[StoredFile]:
        """All files, the newest first."""
        with os.scandir(self.directory) as entries:
            found = [
                (entry.stat().st_mtime, StoredFile(entry.name, entry.stat().st_size))
                for entry in entries
                if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)
            ]
        found.sort(key=lambda item: (-item[0], item[1].name))
        return [file for _, file in found]

    def find(self, name: str) -> Path | None:
        """The file of that name, None if there is none."""
        return next((self.directory / file.name for file in self.files() if file.name == name), None)

    def _rename(self, source: Path, name: str) -> str:
        for candidate in _numbered(name):
            with contextlib.suppress(FileExistsError):
                _rename_unless_taken(source, self.directory / candidate)
                return candidate
        raise AssertionError("unreachable: there is always a next number")


def harmless_name(name: str) -> str:
    """What is left of a name from somebody's browser when it shall be a file's name here, and nothing more."""
    name = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    name = "".join(char for char in name if char in _JOINERS or unicodedata.category(char) not in _UNWANTED_CATEGORIES)
    name = name.strip(". ")
    stem, extension = PurePath(name).stem, PurePath(name).suffix
    if len(extension.encode()) > _MAX_EXTENSION_BYTES:
        stem, extension = name, ""
    stem = stem.encode()[: _MAX_NAME_BYTES - len(extension.encode())].decode(errors="ignore")
    return stem + extension or "upload"


def _numbered(name: str) -> Iterator[str]:
    yield name
    stem, extension = PurePath(name).stem, PurePath(name).suffix
    for number in itertools.count(2):
        yield f"{stem} ({number}){extension}"


def _rename_unless_taken(source: Path, target: Path) -> None:
    """Rename; raises FileExistsError if there is a `target`, also one that another process made just now."""
    linked = _hard_link(source, target)
    if not linked:
        target.touch(exist_ok=False)  # takes the name; for a moment there is an empty file
    try:
        if linked:
            source.unlink()
        else:
            source.replace(target)
    except BaseException:
        target.unlink()
        raise


def _hard_link(source: Path, target: Path) -> bool:
    """False if there are no hard links on this file system, or none to another user's file."""
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.EXDEV):
            raise
        return False
    return True


def _copy_to_disk(source: Path, target: Path) -> None:
    """Copy and wait until the copy would survive a power cut: the original is removed next."""
    with source.open("rb") as original, target.open("xb") as copy:
        shutil.copyfileobj(original, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())
