"""The folder of files that the app has received. Decides which names files may have and which names are served."""

import itertools
import os
import re
import unicodedata
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

    def free_names(self, wanted_name: str) -> Iterator[str]:
        """Yield names for a file that a browser calls "name.ext": this, "name (2).ext", ..., without those in use."""
        return (name for name in _numbered(harmless_name(wanted_name)) if not self.path(name).exists())

    def path(self, name: str) -> Path:
        """Return where the file of that name is, or will be."""
        return self.directory / name

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
        return next((self.path(file.name) for file in self.files() if file.name == name), None)


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
