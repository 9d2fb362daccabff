"""The functions that the app's backend calls: new_upload, cancel_upload, finish_upload.

Each is a POST whose answer is 200 with the return value, or an error status with its message: as plain text, or as JSON
if the caller prefers it. They are closed to the world (caller_access.py); a caller's address is checked before a byte
of the body is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tornado.web import stream_request_body

from incoming.core.errors import BadParameter, MessageTooLarge, UnknownId, UnknownTicket, UploadError, WrongSecret
from incoming.core.ticket import Ticket, canonical_id
from incoming.handlers.backend.destination import Destinations
from incoming.handlers.backend.file_identity import file_identity
from incoming.handlers.backend.parameter_rules import ABOUT_UPLOAD, NEW_UPLOAD, Rules, checked, warnings
from incoming.handlers.backend.parameters import MAX_BODY, Parameters, parameters
from incoming.handlers.backend.ticket_options import secret, ticket_count, ticket_options, wants_test
from incoming.handlers.base import Handler, prefers_json
from incoming.handlers.caller_access import require_backend_caller, require_backend_peer, same_secret
from incoming.storage.byte_store import ObjectsStore, ReadableStore, store_named
from incoming.wire.trace_context import trace_context

WARNING_HEADER = "Incoming-Warning"
"""What the caller should know although the call is carried out, one header for each warning."""

MAX_DISCARDED = MAX_BODY + 256 * 1024
"""Bytes up to which a body of unknown length is read to its end, so that its sender gets the error."""


@dataclass(frozen=True, slots=True)
class ReturnValue:
    """What a function returns: as text, and as the fields of a JSON object."""

    text: str
    described: Mapping[str, Any]


@stream_request_body
class BackendFunction(Handler):
    """What the three have in common. A small body is read to its end before a refusal, so that the answer arrives."""

    function: ClassVar[str]
    rules: ClassVar[Rules] = ABOUT_UPLOAD
    for_pages = False
    _warnings: Sequence[str] = ()

    def prepare(self) -> None:
        self.logged["function"] = self.function
        self._body = bytearray()
        self._refusal: UploadError | None = None
        self._caller = ""
        connection = self.request.connection
        if connection is not None and hasattr(connection, "set_max_body_size"):
            connection.set_max_body_size(MAX_DISCARDED)
        if self.request.method != "POST":
            # The address first: what else is wrong with a stranger's request is no news.
            require_backend_peer(self.request, self.services.settings)
            self._check_length()
            return
        try:
            self._caller = str(require_backend_caller(self.request, self.services.settings))
            self.services.connection_limiter.mark_identified(getattr(connection, "stream", None))
        except UploadError as error:
            self._refusal = error
        self._check_length()

    def _check_length(self) -> None:
        """Refuse a body that says beforehand that it is too large, whatever the method."""
        length = self.request.headers.get("Content-Length", "")
        if re.fullmatch("[0-9]{1,19}", length, re.ASCII) and int(length) > MAX_BODY:
            raise self._refusal or _too_large()

    def data_received(self, chunk: bytes) -> None:
        if len(self._body) + len(chunk) > MAX_BODY:
            self._refusal = self._refusal or _too_large()
        if self._refusal is None:
            self._body += chunk

    async def post(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        given = parameters(self.request, bytes(self._body))
        self._warnings = warnings(given, self.rules)
        if self._warnings:
            self.logged["warning"] = "; ".join(self._warnings)
        self._add_warnings()
        answer = await self.call(checked(given, self.rules))
        self.set_header("Cache-Control", "no-store")
        if prefers_json(self.request.headers.get("Accept", "")):
            self.set_header("Content-Type", "application/json; charset=utf-8")
            self.finish(json.dumps({**answer.described, "warnings": list(self._warnings)}))
        else:
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(answer.text)

    def _add_warnings(self) -> None:
        for warning in self._warnings:
            self.add_header(WARNING_HEADER, warning)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Set the headers again, which Tornado has cleared, and write the error."""
        self._add_warnings()
        super().write_error(status_code, **kwargs)

    async def call(self, given: Parameters) -> ReturnValue:
        """Carry out the function and return its return value. Raises UploadError."""
        raise NotImplementedError

    async def upload(self, given: Parameters) -> Ticket:
        """Return the upload that a call is about. Raises BadParameter, UnknownId, or WrongSecret."""
        ticket_id = canonical_id(given.get("id", ""))
        if not ticket_id:
            raise BadParameter("id not given")
        try:
            ticket = await self.services.upload_service.get_ticket(ticket_id)
        except UnknownTicket as error:
            raise UnknownId("id unknown") from error
        options = ticket.options
        self.logged |= {"upload": ticket.id, **options.trace}
        sent = secret(given)
        excused = not sent and options.secret_optional and not self.services.settings.finish_requires_secret
        if not excused and not same_secret(sent, options.backend_secret):
            raise WrongSecret("backendSecret not given or wrong")
        return ticket


class NewUpload(BackendFunction):
    """Issue a ticket for one file, or `count` of them."""

    function = "new_upload"
    rules = NEW_UPLOAD

    async def call(self, given: Parameters) -> ReturnValue:
        fields = self.request.headers
        traceparent, tracestate = trace_context(fields.get("traceparent", ""), fields.get("tracestate", ""))
        options = ticket_options(given, self._caller, Destinations.of(self.services.settings))
        wanted = replace(options, traceparent=traceparent, tracestate=tracestate)
        self.logged |= wanted.trace
        store = store_named(self.services.store, wanted.dest_type)
        if wanted.digest and not isinstance(store, ReadableStore):
            raise BadParameter(f"digest invalid: the storage '{wanted.dest_type}' cannot compute one")
        if wanted.dest_key and isinstance(store, ObjectsStore) and await store.has_key(wanted.dest_key):
            raise BadParameter(f"destKey invalid: there is an object with the key {wanted.dest_key!r} already")
        known = file_identity(given, wanted, self.services.settings.max_size)
        count = ticket_count(given)
        if wanted.dest_key and (count or 1) > 1:
            raise BadParameter(f"destKey invalid: {count} uploads cannot have one key")
        created = await self.services.ticket_creation.create_all(
            wanted, known, count=count or 1, test_callback=wants_test(given)
        )
        tickets = [ticket.id for ticket in created]
        if count is None:
            self.logged["upload"] = tickets[0]
            return ReturnValue(tickets[0], {"ticket": tickets[0]})
        self.logged["tickets"] = count
        return ReturnValue("\n".join(tickets), {"ticket": tickets[0], "tickets": tickets})


class CancelUpload(BackendFunction):
    """Cancel on behalf of the app, which therefore gets no callback about it."""

    function = "cancel_upload"

    async def call(self, given: Parameters) -> ReturnValue:
        ticket = await self.upload(given)
        return _ended(await self.services.upload_service.cancel(ticket.id, "Cancelled by request", notify_app=False))


class FinishUpload(BackendFunction):
    """Finish an upload: the app has taken the file over; it had answered 'wait', or is about to."""

    function = "finish_upload"

    async def call(self, given: Parameters) -> ReturnValue:
        ticket = await self.upload(given)
        return _ended(await self.services.upload_service.finish(ticket.id))


def _ended(ticket: Ticket) -> ReturnValue:
    return ReturnValue("ok", {"ticket": ticket.id, "state": ticket.state.value})


def _too_large() -> MessageTooLarge:
    return MessageTooLarge(f"the body is larger than {MAX_BODY} bytes")
