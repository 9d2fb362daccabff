"""A small file in one request: the hello in the query, the file as the body, and the welcome as the answer.

Saves the library a handshake for each of many small files. Decides only how the two come together; what may be stored
is the upload service's decision, and whatever goes wrong is told as over the other ways, by which the client goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from incoming.core.errors import BadParameter, BadRequest, LengthRequired, MessageTooLarge, MethodNotAllowed
from incoming.core.ticket import RECEIVING
from incoming.handlers.upload.resumable_put import ResumablePut
from incoming.handlers.upload.upload_request import check_is_file
from incoming.wire import messages
from incoming.wire.messages import Hello

MAX_WHOLE = 256 * 1024
"""Bytes of a file. Larger ones gain nothing by it, and lose more when the connection breaks."""


class WholeUpload(ResumablePut):
    """`.../frontend/upload/<ticket>/whole?hello=<JSON>`: POST, for pages without a preflight (Fetch standard, 4.8)."""

    methods: ClassVar[Sequence[str]] = ("POST", "OPTIONS")

    async def admit(self) -> None:
        self.admit_page()
        if self.request.method == "OPTIONS":
            return
        if self.request.method != "POST":
            self.set_header("Allow", ", ".join(self.methods))
            raise MethodNotAllowed(f"{self.request.method} is not a method of this URL")
        ticket = await self.admit_ticket()
        hello = self._hello()
        self._check_body(hello)
        self._upload = upload = await self.services.upload_service.open(ticket.id, hello)
        if upload.ticket.state in RECEIVING:
            self._epoch, self._session = upload.ticket.epoch, hello.session
            self._receive(upload, 0, self.body_length)
            if self._sender is not None:
                self._sender.library = hello.library

    def _hello(self) -> Hello:
        declared = self.get_query_argument("hello", None)
        if declared is None:
            raise BadParameter("'hello' is missing in the query")
        hello = messages.parse_control(declared)
        if not isinstance(hello, Hello):
            raise BadParameter("'hello' in the query is not a hello")
        return hello

    def _check_body(self, hello: Hello) -> None:
        length = self.body_length
        if not self.has_body or length is None:
            raise LengthRequired("a file in one request has a Content-Length")
        check_is_file(self.request.headers, length)
        if length > MAX_WHOLE:
            raise MessageTooLarge(f"a file in one request has at most {MAX_WHOLE} bytes; this one has {length}")
        if length != hello.identity.size:
            raise BadRequest(f"the body has {length} bytes, the file by its hello {hello.identity.size}")

    async def take(self, data: bytes) -> None:
        if self._body is not None:  # otherwise the file has arrived before, or its upload has ended
            await super().take(data)

    async def post(self, ticket: str) -> None:
        upload, body = self._upload, self._body  # cleared when the client disconnects while this waits
        if self.concluded() or upload is None:
            return
        if body is not None:
            await self._unless_lost(body.finish())
        known = await self.services.upload_service.settled(upload)
        if not self._ended:
            self.send_json(messages.welcome(known, self.services.limits(known), upload.received))
