"""One POST to an app over HTTP, from the ticket to the app's answer.

Decides time-outs, size limits, which certificates are believed and what a broken connection means. What is said is
payload.py's, what a complete response means answer.py's; it knows no outbox and no ticket store.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from tornado.httpclient import HTTPError, HTTPRequest
from tornado.httputil import HTTPHeaders, HTTPInputError, parse_response_start_line
from tornado.iostream import UnsatisfiableReadError
from tornado.simple_httpclient import HTTPTimeoutError

from incoming import __version__
from incoming.callbacks.allowlist_resolver import AllowlistResolver, CallbackForbidden
from incoming.callbacks.answer import Answer, Verdict, judge
from incoming.callbacks.kept_connections import KeepingClient, KeptConnectionLost, KeptConnections
from incoming.callbacks.known_responses import Advice
from incoming.callbacks.name_lookup import NameLookup
from incoming.callbacks.payload import NO_DETAILS, content, headers
from incoming.callbacks.response import MAX_BODY, Response, one_line
from incoming.core.callback_url import app_host
from incoming.core.ticket import Callback, Ticket
from incoming.settings.settings import Settings

CONNECT_TIMEOUT = 5.0
"""Seconds for name, TCP and TLS. An app that cannot be reached is tried again, so there is no point in patience."""

MAX_CONNECTIONS = 1000
"""Callbacks under way in one worker, over all apps. Beyond it they time out waiting and are tried again."""

LAST_TRY = 1.0
"""Seconds that a call has at least that is repeated because a kept connection was closed."""

MAX_ANSWER = 1024 * 1024
"""Bytes of an answer after which the connection is closed: an endless body must cost neither memory nor time."""

UNUSABLE = "the URL to call is not usable"

_NOT_A_URL = Advice("no client can call this URL", "correct signalFinishURL")
_REFUSED = Advice(
    "nothing listens at this host and port, as this server sees them",
    "start the app; inside a container, 'localhost' is the container itself: name the app's host",
)
_UNREACHABLE = Advice("no connection within the time", "check host, port and firewall between this server and the app")
_NO_NAME = Advice("the host name cannot be resolved on this server's machine", "correct the host in signalFinishURL")
_SLOW = Advice(
    "the app did not answer in time",
    "answer at once ('wait' if the work takes long); an app with one worker cannot answer while it waits for this "
    "server, so run it with two, or with threads",
)
_TLS = Advice(
    "the app's certificate is not trusted or not for this host",
    "if your own authority issued it, name the authority's file in callback_ca_file",
)
_CUT = Advice("the app, or a proxy, closed the connection", "look into the app's log; is the port an HTTP port?")
_NOT_ALLOWED = Advice("the operator's settings forbid this URL", "see callback_hosts and callback_networks")


@dataclass(slots=True)
class _Received:
    """What has come back so far. It is kept apart from the client's own response, of which nothing is left when the
    connection breaks or the body is too long, although the status may already say all.
    """

    status: int = 0
    phrase: str = ""
    headers: HTTPHeaders = field(default_factory=HTTPHeaders)
    body: bytearray = field(default_factory=bytearray)
    length: int = 0

    def header_line(self, line: str) -> None:
        if line.startswith("HTTP/"):  # once for each interim response (1xx) as well
            start = parse_response_start_line(line.strip())
            self.status, self.phrase, self.headers = start.code, start.reason, HTTPHeaders()
        elif line.strip():
            self.headers.parse_line(line)

    def data(self, chunk: bytes) -> None:
        self.length += len(chunk)
        self.body += chunk[: MAX_BODY - len(self.body)]

    @property
    def was_cut_by_us(self) -> bool:
        """Whether the connection ended because the body is too long, not because the app broke off."""
        announced = self.headers.get("Content-Length", "")
        return self.length > MAX_BODY or (announced.isdecimal() and int(announced) > MAX_ANSWER)

    def response(self, secret: str) -> Response:
        length = max(self.length, MAX_BODY + 1) if self.was_cut_by_us else self.length
        return Response(self.status, self.phrase, dict(self.headers.get_all()), bytes(self.body), length, secret)


class CallbackClient:
    """Makes the POSTs of one worker."""

    def __init__(
        self, settings: Settings, clock: Callable[[], float] = time.time, lookup: NameLookup | None = None
    ) -> None:
        self._timeout = settings.handover_timeout
        self._per_host = settings.handover_connections
        self._clock = clock
        self._ca_file = settings.callback_ca_file
        self._guard = AllowlistResolver(
            hosts=settings.callback_hosts, networks=settings.callback_networks, lookup=lookup
        )

    @cached_property
    def _client(self) -> KeepingClient:
        """Bound to the event loop that the first call is made on. It knows nothing of proxies and their variables."""
        connections = KeptConnections(self._guard, self._per_host)
        limits = {"max_clients": MAX_CONNECTIONS, "max_body_size": MAX_ANSWER}
        return KeepingClient(force_instance=True, connections=connections, **limits)

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext | None:
        """The system's authorities and the operator's own; None for the system's alone."""
        return ssl_context(self._ca_file) if self._ca_file else None

    async def post(
        self,
        ticket: Ticket,
        callback: Callback,
        *,
        is_test: bool = False,
        within: float | None = None,
        details: Mapping[str, str] = NO_DETAILS,
    ) -> Answer:
        """Call the app and return its answer. Raises nothing: a failure is an answer, too.

        `within` replaces the settings' time-out, in seconds; `details` are further fields. Where the app has closed a
        kept connection, the call is made once more on a new one.
        """
        timeout = self._timeout if within is None else min(within, self._timeout)
        if not app_host(ticket.options.signal_finish_url):
            return Answer(Verdict.REFUSED, UNUSABLE, advice=_NOT_A_URL)
        body = content(ticket, callback, is_test=is_test, details=details)
        fields = headers(ticket, callback, body, int(self._clock()), is_test=is_test)
        begun = asyncio.get_running_loop().time()
        try:
            return await self._post_once(ticket, callback, timeout, body, {**fields, "Connection": "keep-alive"})
        except KeptConnectionLost:
            left = max(LAST_TRY, timeout - (asyncio.get_running_loop().time() - begun))
            answer = await self._post_once(ticket, callback, left, body, {**fields, "Connection": "close"})
            return replace(answer, repeated=True)

    async def _post_once(
        self, ticket: Ticket, callback: Callback, timeout: float, body: bytes, fields: Mapping[str, str]
    ) -> Answer:
        """Raises KeptConnectionLost."""
        received = _Received()
        try:
            request = self._request(ticket.options.signal_finish_url, received, timeout, body, fields)
            await self._client.fetch(request, raise_error=False)
        except CallbackForbidden as error:
            return Answer(Verdict.UNCLEAR, str(error), advice=_NOT_ALLOWED)
        except (HTTPError, HTTPInputError, UnsatisfiableReadError, OSError) as error:
            if received.status < 200 or not received.was_cut_by_us:  # an interim response (1xx) is no answer
                reason, advice = _describe(error, timeout)
                return Answer(Verdict.AGAIN, reason, answered=False, advice=advice)
        except ValueError:
            return Answer(Verdict.REFUSED, UNUSABLE, advice=_NOT_A_URL)
        response = received.response(ticket.options.backend_secret)
        return judge(response, callback, self._clock())

    def _request(
        self, url: str, received: _Received, timeout: float, body: bytes, fields: Mapping[str, str]
    ) -> HTTPRequest:
        return HTTPRequest(
            url,
            method="POST",
            headers=dict(fields),
            body=body,
            user_agent=f"Incoming/{__version__}",
            connect_timeout=min(CONNECT_TIMEOUT, timeout),
            request_timeout=timeout,
            follow_redirects=False,
            decompress_response=False,
            header_callback=received.header_line,
            streaming_callback=received.data,
            ssl_options=self._ssl_context,
        )

    def close(self) -> None:
        """Take no more calls."""
        self._client.close()


def ssl_context(ca_file: str) -> ssl.SSLContext:
    """Return a context that believes the system's authorities and those of a PEM file. Raises OSError."""
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=ca_file)
    return context


def _describe(error: Exception, timeout: float) -> tuple[str, Advice]:
    if isinstance(error, HTTPTimeoutError):
        if "during request" in str(error):
            return f"no answer within {timeout:g} s", _SLOW
        return "no connection in time", _UNREACHABLE
    if isinstance(error, ssl.SSLError):
        return one_line(f"no secure connection: {error.reason or error}"), _TLS
    if isinstance(error, OSError):
        reason = one_line(error.strerror or str(error) or type(error).__name__)
        known = ((ConnectionRefusedError, _REFUSED), (ConnectionError, _CUT), (socket.gaierror, _NO_NAME))
        return reason, next((advice for kind, advice in known if isinstance(error, kind)), _UNREACHABLE)
    return "the connection was closed without an answer", _CUT
