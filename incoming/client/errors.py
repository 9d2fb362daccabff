"""What a program gets when a server refuses, does not answer, or calls with something that is not its own.

A server's errors are those of incoming.core.errors: the same tree, the same codes. Decides which answer is which error;
does not decide whether to try again.
"""

from __future__ import annotations

import json
import re
from typing import Any

from incoming.core.errors import TABLE, UploadError

MAX_SHOWN = 200
"""Characters of a foreign answer that a message shows."""


_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL | re.IGNORECASE)
"""What a page of a proxy says in short."""


class Unreachable(OSError):
    """No usable answer: no connection, a cut one, or the answer of something in between. A later call may succeed."""


class NotTheServer(ValueError):
    """What answers at this URL is no Incoming!! server, or refuses in its place. Trying again is of no use."""


class NotGenuine(ValueError):
    """A callback that was not signed with the upload's secret, or too long ago. Answer 403."""


class UnknownUpload(NotGenuine):
    """A callback about an upload that is not one of this application's. Answer 404."""


class ForeignPath(ValueError):
    """A path that is not that of the upload's file in the server's storage directory."""


class TargetExists(FileExistsError):
    """Another file has the name under which an upload was to be taken. Take it under another one."""


class NewerError(UploadError):
    """An error whose code this version does not know."""


def error_of(status: int, body: bytes) -> UploadError | Unreachable | NotTheServer:
    """Return the error that an answer means. `status` is that of the HTTP response (RFC 9110)."""
    described = json_object(body)
    if described is not None and isinstance(described.get("code"), int):
        return error_from(described, status)
    text = body[: 8 * MAX_SHOWN].decode("utf-8", "replace")
    title = _TITLE.search(text)
    shown = " ".join((title[1] if title else text).split())[:MAX_SHOWN]
    message = f"HTTP status {status}: {shown}" if shown else f"HTTP status {status} and an empty body"
    if status >= 500 or status in (408, 425, 429):
        return Unreachable(message)
    return NotTheServer(f"no answer of an Incoming!! server: {message}")


def error_from(described: dict[str, Any], status: int = 0) -> UploadError:
    """Return the error of a JSON object as the server sends it, with the server's own text, `retry` and time."""
    code = described["code"]
    error = TABLE.get(code, NewerError)(str(described.get("message", "")))
    after = described.get("retry_after")
    own = {"retry": bool(described.get("retry")), "retry_after": after if isinstance(after, int | float) else None}
    vars(error).update(own if code in TABLE else {"code": code, "status": status, **own})
    return error


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return the object that a body is, None if it is anything else."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
