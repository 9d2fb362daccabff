"""The common part of all HTTP answers: headers, errors as text or JSON, and the log line of a request.

Decides how an error of core.errors is sent over HTTP; lower layers decide what is an error.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, ClassVar

from tornado.web import HTTPError, RequestHandler

from incoming.core.errors import BadRequest, InternalError, MethodNotAllowed, NotFound, UploadError
from incoming.handlers.caller_access import client_address, is_backend
from incoming.handlers.services import Services
from incoming.wire import messages

log = logging.getLogger(__name__)


def wants_json(accept: str) -> bool:
    """Return whether an Accept header names JSON; otherwise errors are plain text."""
    return "application/json" in accept.lower()


def prefers_json(accept: str) -> bool:
    """Return whether an Accept header names JSON and not plain text, as some clients do unasked (axios)."""
    return wants_json(accept) and "text/plain" not in accept.lower()


def answer_error(handler: Answering, error: UploadError, status: int = 0, reason: str | None = None) -> None:
    """End the answer with an error, as JSON if the client asked for it, otherwise as plain text.

    `status` and its `reason` phrase if others than the error's are wanted.
    """
    handler.services.counters.errors[error.name] += 1
    handler.set_status(status or error.status, reason)
    handler.set_header("Cache-Control", "no-store")
    if error.retry_after is not None:
        handler.set_header("Retry-After", str(error.retry_after))
    if wants_json(handler.request.headers.get("Accept", "")):
        handler.set_header("Content-Type", "application/json; charset=utf-8")
        handler.finish(json.dumps(messages.describe_error(error)))
    else:
        handler.set_header("Content-Type", "text/plain; charset=utf-8")
        handler.finish(error.message)


def methods_of(handler: RequestHandler) -> Sequence[str]:
    """Return the methods of a resource, for Allow (RFC 9110 section 10.2.1)."""
    if isinstance(handler, Answering) and handler.methods:
        return handler.methods
    return [
        method
        for method in RequestHandler.SUPPORTED_METHODS
        if getattr(type(handler), method.lower()) is not getattr(RequestHandler, method.lower())
    ]


class Answering(RequestHandler):
    """An exception becomes the answer: an UploadError itself, any other a logged InternalError."""

    methods: ClassVar[Sequence[str]] = ()
    """All methods of a URL that several handlers share; else its handler's are counted."""
    for_pages: ClassVar[bool] = True
    """Whether pages of other origins may read that a URL or a method is wrong."""

    def initialize(self, services: Services) -> None:
        self.services = services
        self.logged: dict[str, Any] = {}
        """Facts of this request for the log, besides method, path, status and client."""

    @property
    def client(self) -> str:
        """Return the address of the client."""
        return str(client_address(self.request, self.services.settings))

    def answer_error(self, error: UploadError) -> None:
        """End the answer with an error. Dialects with other statuses or bodies override this."""
        answer_error(self, error)

    def compute_etag(self) -> str | None:
        """Return None: only the library has entity tags."""
        return None

    def set_default_headers(self) -> None:
        self.set_header("Server", "Incoming")
        self.set_header("X-Content-Type-Options", "nosniff")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        raised = kwargs.get("exc_info", (None, None, None))[1]
        error = raised if isinstance(raised, UploadError) else self._http_error(status_code)
        self.logged |= {"error": error.name, "reason": error.message}
        if isinstance(error, MethodNotAllowed):
            self.set_header("Allow", ", ".join(methods_of(self)))
        self._let_every_page_read(error)
        self.answer_error(error)

    def _let_every_page_read(self, error: UploadError) -> None:
        """Let pages of any origin read the error: one may have a wrong URL of this server."""
        missing = self.for_pages and isinstance(error, NotFound | MethodNotAllowed)
        if missing and "Access-Control-Allow-Origin" not in self._headers:
            self.set_header("Access-Control-Allow-Origin", "*")

    def _http_error(self, status: int) -> UploadError:
        if status == MethodNotAllowed.status:
            return MethodNotAllowed(f"{self.request.method} is not a method of this URL")
        if status == NotFound.status:
            return NotFound("no such URL")
        return BadRequest("the request is malformed") if status < 500 else InternalError()

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if not isinstance(value, UploadError | HTTPError):
            log.error("%s %s failed", self.request.method, self.request.path, exc_info=value)


class Handler(Answering):
    """A resource. A worker that drains waits for its answers."""

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        services.requests.add(self)

    def on_finish(self) -> None:
        self.services.requests.discard(self)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.services.requests.discard(self)


class Nowhere(Handler):
    """Every URL that the table of routes does not list."""

    def prepare(self) -> None:
        raise NotFound("no such URL")


def request_logger(services: Services) -> Callable[[RequestHandler], None]:
    """Log one line for each backend function and each error that is the server's own fault (Tornado's `log_function`).

    upload_service logs uploads. A query string may hold a secret: only the path is logged.
    """

    def log_request(handler: RequestHandler) -> None:
        facts: dict[str, Any] = getattr(handler, "logged", {})
        status = handler.get_status()
        serious = status >= 500 or (status == 403 and "function" in facts) or "warning" in facts
        level = logging.WARNING if serious else logging.INFO if "function" in facts else logging.DEBUG
        if log.isEnabledFor(level):
            request = handler.request
            event = f"{facts['function']} answered" if "function" in facts else "request answered"
            client = client_address(request, services.settings)
            # Refusals of unidentified clients are unlimited, and must not use up the warnings about backends.
            flood = (status, is_backend(client, services.settings))
            extra = {"event": event, "flood": flood, "client": str(client), **facts}
            log.log(level, "%s %s %d", request.method, request.path[:200], status, extra=extra)

    return log_request
