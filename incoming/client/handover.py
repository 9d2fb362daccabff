"""The application's side of a handover: which calls are the server's own, and which file a call means.

Decides that a call is genuine (signature and time) and that its path is the file of this upload in the server's
storage directory, and nothing else. How a file is moved is take_file's; what the application answers is its own.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import parse_qs

from incoming.client.errors import ForeignPath, NotGenuine, UnknownUpload
from incoming.client.take_file import remove_partial_copies, take_file
from incoming.wire.callback_signature import is_signature

TOLERANCE = 300.0
"""Seconds by which the clocks of server and application may differ, and a call may be late."""

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Secret = str | Callable[[str], str | None]
"""One secret for all uploads, or a function that returns that of an id; None for an id that is not one of yours."""


@dataclass(frozen=True, slots=True)
class Callback:
    """A genuine call. `name` is that of the user's file, safe to join to a directory's path; others may have it too."""

    id: str
    filename: str
    name: str
    cancelled: bool
    cancel_reason: str
    is_test: bool
    """A trial call: answer 'done' and do nothing. Only that of an id that is not yours has not been verified."""
    delivery: str
    """The id of this notification: the same in every attempt."""
    metadata: Mapping[str, str]
    """What was given as `metadata` to new_upload, or a client told."""
    fields: Mapping[str, str]
    """All fields as text, also those of newer servers."""


class Handover:
    """Takes files over. An instance may be used by many threads at once, and by every process of an application."""

    def __init__(
        self, storage_dir: str | os.PathLike[str], secret: Secret, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Accept files of `storage_dir`, the server's storage directory as this application sees it."""
        self._storage_dir = storage_dir
        self._secret = secret
        self._clock = clock

    def verify(self, headers: Headers, body: bytes) -> Callback:
        """Return what a call says. `body` is the request's body byte by byte, `headers` in any case.

        Raises NotGenuine unless it is signed with the upload's secret, and not long ago. That is
        UnknownUpload if it has no id, or there is no secret for it.
        """
        callback = _parse(headers, body)
        secret = self._secret if isinstance(self._secret, str) else self._secret(callback.id)
        if secret is None and callback.is_test:
            return callback
        if not secret:
            raise UnknownUpload(f"there is no upload {callback.id[:64]!r}")
        self._check_signature({name.lower(): value for name, value in _pairs(headers)}, body, secret)
        return callback

    def take(self, callback: Callback, target: str | os.PathLike[str]) -> Path:
        """Move the file of a callback to `target`, also to another file system, and return its path.

        When this returns, all of the file is on disk under that name. It may be called again at any time, with the same
        target, after it has failed or its process was killed. Raises ForeignPath; TargetExists when another file has
        that name; any other OSError (a full disk, BlockingIOError when another call takes the file just now) means that
        the server must call again: answer 503.
        """
        path = Path(target)
        take_file(self.file_of(callback, path), path)
        return path

    def file_of(self, callback: Callback, target: Path | None = None) -> Path:
        """Return the path of the upload's file, free of symbolic links. It may be gone if `target` exists: then an
        earlier call has moved it. Raises ForeignPath.
        """
        if callback.cancelled or callback.is_test:
            raise ForeignPath("a cancelled upload and a trial call have no file")
        return file_in_storage(self._storage_dir, callback.id, callback.filename, target)

    def clean(self, directory: str | os.PathLike[str]) -> None:
        """Remove what killed copies have left in a directory of targets. Call it when the application starts."""
        remove_partial_copies(Path(directory))

    def _check_signature(self, headers: Mapping[str, str], body: bytes, secret: str) -> None:
        timestamp = headers.get("incoming-timestamp", "")
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 15):
            raise NotGenuine("the call has no Incoming-Timestamp")
        if not is_signature(headers.get("incoming-signature", ""), secret, int(timestamp), body):
            raise NotGenuine("Incoming-Signature is not that of this call")
        if (age := abs(self._clock() - int(timestamp))) > TOLERANCE:
            raise NotGenuine(f"the call was signed {age:.0f} s from now, the limit is {TOLERANCE:.0f} s")


def file_in_storage(
    storage_dir: str | os.PathLike[str], upload_id: str, filename: str, target: Path | None = None
) -> Path:
    """Return the file of an upload, free of symbolic links.

    It must be a regular file below `storage_dir` and be named like the upload, before and after all symbolic links are
    followed. It may be gone if `target` exists. Raises ForeignPath.
    """
    try:
        storage = os.path.realpath(storage_dir, strict=True)
        path = Path(os.path.realpath(filename))
        is_file = _is_regular(path) or (target is not None and not os.path.lexists(path) and target.exists())
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ForeignPath(f"no such file: {filename!r}") from error
    given = PurePath(filename)
    named_like_the_upload = path.name == upload_id == given.name
    if not (given.is_absolute() and path.is_relative_to(storage) and named_like_the_upload and is_file):
        raise ForeignPath(f"not the file of upload {upload_id!r} in the storage directory {storage}: {filename!r}")
    return path


def _parse(headers: Headers, body: bytes) -> Callback:
    fields = _fields_of_json(body) if body.startswith(b"{") else _fields_of_form(body)
    if "id" not in fields or "cancelled" not in fields:
        raise UnknownUpload("the body has no fields 'id' and 'cancelled'")
    delivery = next((value for name, value in _pairs(headers) if name.lower() == "incoming-delivery"), "")
    return Callback(
        id=fields["id"],
        filename=fields.get("filename", ""),
        name=fields.get("filenameFromBrowser", ""),
        cancelled=fields["cancelled"] == "yes",
        cancel_reason=fields.get("cancelReason", ""),
        is_test=fields.get("test") == "yes",
        delivery=delivery,
        metadata=_object(fields.get("metadata", "")),
        fields=fields,
    )


def _fields_of_form(body: bytes) -> dict[str, str]:
    try:
        # A path may have bytes that are not UTF-8; os.fsdecode spells them like this, too.
        parsed = parse_qs(body.decode("ascii"), keep_blank_values=True, errors="surrogateescape")
    except ValueError as error:
        raise UnknownUpload("the body is not a form") from error
    return {name: values[-1] for name, values in parsed.items()}


def _fields_of_json(body: bytes) -> dict[str, str]:
    """Return the same as text: an application need not know which format it asked for."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnknownUpload("the body is not JSON") from error
    return {name: _text(value) for name, value in found.items() if value not in (None, {})}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value)


def _object(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _pairs(headers: Headers) -> Iterable[tuple[str, str]]:
    return headers.items() if isinstance(headers, Mapping) else headers


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False
