"""The path in the Incoming!! server's callback. Decides which file on this machine it may mean: exactly one.

Whoever reaches the callback URL can write any path into it. Believing it would let strangers have any file that the app
can read moved into the public folder.
"""

import os
import stat
from pathlib import Path, PurePath


class NotHandedOverError(ValueError):
    """The path is not that of the upload's file in the server's storage directory."""


def handed_over_file(storage_dir: Path, upload_id: str, filename: str, *, moved_to: Path) -> Path:
    """Return the file of the upload, free of symbolic links.

    It must be a regular file somewhere below `storage_dir` and be named like the upload, after as well as before all
    symbolic links are followed. It may be gone if `moved_to` exists: then an earlier call has moved it.
    """
    try:
        storage = os.path.realpath(storage_dir, strict=True)
        path = Path(os.path.realpath(filename))
        is_file = _is_regular(path) or (not os.path.lexists(path) and moved_to.exists())
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise NotHandedOverError(f"no such file: {filename!r}") from error
    given = PurePath(filename)
    named_like_the_upload = path.name == upload_id == given.name
    if not (given.is_absolute() and path.is_relative_to(storage) and named_like_the_upload and is_file):
        raise NotHandedOverError(f"not a file of this upload in {storage} (see --incoming_storage_dir): {filename!r}")
    return path


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False
