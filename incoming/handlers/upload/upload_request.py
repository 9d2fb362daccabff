"""The checks of a request for an upload that every transport shares: its page's origin, its body's type, its epoch."""

from __future__ import annotations

from tornado.httputil import HTTPHeaders
from tornado.util import ObjectDict
from tornado.web import RequestHandler

from incoming.core.errors import Forbidden, FormRefused, StorageFailed, TakenOver, UnsupportedEncoding, UploadError
from incoming.core.ticket import RECEIVING, Ticket
from incoming.handlers import cors
from incoming.settings.settings import Settings
from incoming.uploads.upload_service import UploadService

UPLOAD_METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS")
"""Of an upload's URL, by all its dialects."""

FORMS = frozenset({"multipart/form-data", "application/x-www-form-urlencoded"})
"""Types of bodies that wrap or escape the file's bytes; HTML forms, FormData and `curl -F` or `-d` send them."""


def check_page(headers: HTTPHeaders, settings: Settings) -> None:
    """Raise Forbidden for a page that may not upload to this server at all."""
    if not cors.allowed(headers.get("Origin"), settings.allowed_origins):
        raise Forbidden("pages of this origin may not upload here")


async def find_ticket(ticket_id: str, headers: HTTPHeaders, upload_service: UploadService) -> Ticket:
    """Return the ticket of a request. Raise UnknownTicket, or Forbidden for a page that the ticket is not for."""
    ticket = await upload_service.get_ticket(ticket_id)
    if not cors.allowed(headers.get("Origin"), ticket.options.allowed_origins):
        raise Forbidden("pages of this origin may not use this ticket")
    return ticket


def expires_at(ticket: Ticket, settings: Settings) -> float | None:
    """Return when the upload is given up unless its client does something, seconds since the epoch; None if never."""
    if ticket.state not in RECEIVING:
        return None
    return ticket.active_at + (settings.paused_timeout if ticket.paused else settings.idle_timeout)


def forget_request(handler: RequestHandler) -> None:
    """Drop what only the beginning of a request needs: a WebSocket may be open for hours, with thousands of others."""
    request = handler.request
    request.headers.__init__()  # type: ignore[misc] # Tornado holds them elsewhere, too
    request.arguments = request.query_arguments = request.body_arguments = {}
    handler._headers = HTTPHeaders()
    handler.ui = ObjectDict()


def epoch_is_over(ticket: Ticket, session: str) -> UploadError:
    """Return why a session's epoch is not the ticket's any more.

    The epoch also rises when a disk has lost bytes. Then nobody has taken over, and the client must ask anew.
    """
    if ticket.session in ("", session):
        return StorageFailed("a disk error lost bytes that had arrived; ask what is there and send the rest again")
    return TakenOver()


def check_encoding(headers: HTTPHeaders) -> None:
    """Raise UnsupportedEncoding for a body whose bytes are compressed or otherwise encoded."""
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding(f"Content-Encoding {headers['Content-Encoding']!r}: only identity is taken")


def check_is_file(headers: HTTPHeaders, length: int | None) -> None:
    """Raise UnsupportedEncoding or FormRefused for a body whose bytes are not those of the file.

    `length` is the body's, None if it is not known; an empty body is an empty file in whatever type.
    """
    check_encoding(headers)
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type in FORMS and length != 0:
        raise FormRefused(
            f"the body is a form ({media_type}); send the file's bytes as they are, with another Content-Type "
            "(curl: -T FILE instead of -F or -d)"
        )
