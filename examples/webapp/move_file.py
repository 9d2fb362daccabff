"""Moving a file that was handed over. Decides that a file has its name only when all of it is on disk.

Refuses to know how the name was chosen. The README shows both functions as they are here.
"""

import fcntl
import os
import shutil
from pathlib import Path


def move_file(source: Path, target: Path) -> None:
    """Move a file, also to another file system. `target` appears by a rename: if it exists, it is whole."""
    part = target.with_name(f".{target.name}.part")
    lock = target.with_name(f".{target.name}.lock")
    with lock.open("w") as file:
        # Ends with the process, however it ends. BlockingIOError: another call is copying; let the server try again.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not target.exists():
            try:
                source.rename(target)
            except OSError:  # it is on another file system, or we may only read it
                copy_file(source, part)
                part.rename(target)
        directory = os.open(target.parent, os.O_RDONLY)
        os.fsync(directory)  # the name is on disk
        os.close(directory)
        lock.unlink(missing_ok=True)


def copy_file(source: Path, copy: Path) -> None:
    """Copy a file to disk. If it fails, for want of room for example, nothing is left of the copy."""
    try:
        with source.open("rb") as original, copy.open("wb") as file:
            shutil.copyfileobj(original, file)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        copy.unlink(missing_ok=True)
        raise
