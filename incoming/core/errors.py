"""Every error that a client, an app or an operator can see: one tree, one table.

Decides an error's stable numeric code, its HTTP status and whether the client may try again. Does not know how an error
is sent: the handlers turn it into a response, a WebSocket message or a log line. Codes are never reused and never
change their meaning; the browser switches on codes, never on text.
"""

from __future__ import annotations

import copy
from typing import ClassVar, TypeVar

E = TypeVar("E", bound=BaseException)

TABLE: dict[int, type[UploadError]] = {}


class UploadError(Exception):
    """The root. `code` is stable and numeric, `status` is the HTTP status (RFC 9110) that goes with it.

    `retry` says whether the same request may succeed later without anything changing at the client;
    `retry_after` is the delay in seconds to suggest, if there is one.
    """

    code: ClassVar[int]
    status: ClassVar[int]
    retry: ClassVar[bool] = False
    retry_after: ClassVar[int | None] = None
    text: ClassVar[str] = ""
    """The message where none is given."""

    def __init__(self, message: str = "") -> None:
        self.message = message or self.text
        super().__init__(self.message)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" in cls.__dict__:
            if cls.code in TABLE:
                raise TypeError(f"error code {cls.code} is taken by {TABLE[cls.code].__name__}")
            TABLE[cls.code] = cls

    @property
    def name(self) -> str:
        """The snake_case name that goes with the code in JSON, metrics and docs."""
        return "".join("_" + c.lower() if c.isupper() else c for c in type(self).__name__).lstrip("_")


def copied(error: E) -> E:
    """Return another error that is the same. Raising one attaches a traceback to it, so each who waits gets its own."""
    return copy.copy(error)


# --- 1xx: the request is wrong; its sender must change it -------------------------------------------------------------


class BadRequest(UploadError):
    """Not what the protocol says: unparsable, wrong types, out of order."""

    code = 100
    status = 400


class BadParameter(UploadError):
    """A backend parameter is missing or its value is not acceptable."""

    code = 101
    status = 400


class BadRange(UploadError):
    """A Content-Range or a chunk's offset does not fit the body or the file."""

    code = 102
    status = 400


class MessageTooLarge(UploadError):
    """A message, chunk or body is larger than the limit that was announced."""

    code = 103
    status = 413


class UnsupportedEncoding(UploadError):
    """A Content-Encoding other than identity."""

    code = 104
    status = 415


class MethodNotAllowed(UploadError):
    """The resource exists and knows other methods."""

    code = 105
    status = 405


class NotFound(UploadError):
    """No such URL."""

    code = 106
    status = 404


class FormRefused(UploadError):
    """The body of a PUT is an HTML form, which would be stored with its boundaries or escapes as the file."""

    code = 107
    status = 415


class LengthRequired(UploadError):
    """A PUT without Content-Length and Transfer-Encoding: its body may be empty or lost."""

    code = 108
    status = 411


class CallbackTestFailed(UploadError):
    """The trial call that the app's backend asked for with `testCallback` was not accepted by the app."""

    code = 109
    status = 424


class OffsetMismatch(UploadError):
    """The offset of an append is not the end of the stored bytes; nothing of it is stored."""

    code = 110
    status = 409


class UnsupportedVersion(UploadError):
    """The request names no supported version of its protocol."""

    code = 111
    status = 412


class UnsupportedMediaType(UploadError):
    """A body of another Content-Type than the protocol prescribes for an append."""

    code = 112
    status = 415


class ChecksumMismatch(UploadError):
    """A body does not have the checksum that was sent with it, and is discarded. The tus protocol has its own status
    for it, 460.
    """

    code = 113
    status = 400


# --- 2xx: permissions -------------------------------------------------------------------------------------------------


class UnknownTicket(UploadError):
    """No such ticket, or one whose tombstone was removed."""

    code = 200
    status = 404


class UnknownId(UploadError):
    """The same for the app's backend, which gets 400."""

    code = 201
    status = 400


class WrongSecret(UploadError):
    """backendSecret not given or wrong."""

    code = 202
    status = 403


class Forbidden(UploadError):
    """The caller may not use this function: not from that address, origin or without that token."""

    code = 203
    status = 403


class TakenOver(UploadError):
    """A newer uploader has taken the ticket over."""

    code = 204
    status = 409
    text = "the upload was taken over by another client"


# --- 3xx: the upload is in another state than the call needs ----------------------------------------------------------


class WrongState(UploadError):
    """The state table has no entry for this event in this state (412, as the app's backend has always seen it)."""

    code = 300
    status = 412


class AlreadyComplete(UploadError):
    """Bytes were sent to a file that is complete; the file is not touched."""

    code = 301
    status = 409


class UploadCancelled(UploadError):
    """The upload has been cancelled; the message is the reason."""

    code = 302
    status = 410


class HandoverFailed(UploadError):
    """The app refused the file or could not be reached for too long."""

    code = 303
    status = 410


# --- 4xx: this file ---------------------------------------------------------------------------------------------------


class FileChanged(UploadError):
    """Another file than the ticket's first one, by size, modification time or sample digest."""

    code = 400
    status = 409


class FileTooLarge(UploadError):
    """Larger than the server or the ticket allows."""

    code = 401
    status = 413


class FileTypeRefused(UploadError):
    """The app does not accept files of this extension or type."""

    code = 402
    status = 415


class DigestMismatch(UploadError):
    """The complete file does not have the digest that the app expects; it was discarded."""

    code = 403
    status = 410


# --- 5xx: temporary failures of the server; a retry may succeed -------------------------------------------------------


class ServerShutdown(UploadError):
    """The server is stopping or restarting."""

    code = 500
    status = 503
    text = "the server is restarting"
    retry = True
    retry_after = 1


class StorageFull(UploadError):
    """No room on the disk; the upload waits until there is."""

    code = 501
    status = 503
    retry = True
    retry_after = 10


class StorageFailed(UploadError):
    """The disk or the database reported an error; what is not safe must be sent again."""

    code = 502
    status = 503
    retry = True
    retry_after = 5


class TooBusy(UploadError):
    """A limit on connections, tickets or memory is reached."""

    code = 503
    status = 503
    retry = True
    retry_after = 5


class TooSlow(UploadError):
    """The connection made no progress for the configured time and was closed to free its place."""

    code = 504
    status = 408
    retry = True


class InternalError(UploadError):
    """A defect of the server; the log has the details."""

    code = 599
    status = 500
    text = "internal server error; see the server log"
    retry = True
    retry_after = 5
