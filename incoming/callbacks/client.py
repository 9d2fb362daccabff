"""One POST to an app: what it says, how it is signed, and what the answer means.

Decides the form fields, the headers and which answers are `done`, `wait`, a refusal or worth another try. It knows no
outbox and no ticket store: when to try again, and what then becomes of the upload, is handover.py's to say.

The signature: when the ticket has a secret, `Incoming-Signature` is "sha256=" and the HMAC (RFC 2104) with SHA-256 in
hexadecimal digits, keyed with the secret in UTF-8, of `Incoming-Timestamp` (seconds since the epoch, decimal), a full
stop, and the request's body byte by byte. An app that checks both needs to trust neither the network nor the sender.
"""

from __future__ import annotations

import email.utils
import hashlib
import hmac
import os
import re
import ssl
import time
import unicodedata
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from tornado.httpclient import HTTPError, HTTPRequest
from tornado.httputil import HTTPHeaders, HTTPInputError, parse_response_start_line
from tornado.iostream import UnsatisfiableReadError
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

from incoming import __version__
from incoming.callbacks.allowlist_resolver import AllowlistResolver, CallbackForbidden
from incoming.core.ticket import Callback, Ticket
from incoming.settings.settings import Settings

CONNECT_TIMEOUT = 5.0
"""Seconds for name, TCP and TLS. An app that cannot be reached is tried again, so there is no point in patience."""

MAX_CONNECTIONS = 1000
"""Callbacks under way in one worker, over all apps. Beyond it they time out waiting and are tried again."""

MAX_ANSWER = 1024 * 1024
"""Bytes of an answer after which the connection is closed: an endless body must cost neither memory nor time."""

JUDGED = 4096
"""Bytes of an answer that are looked at. `done` and `wait` are four; the rest is for the message to the user."""

QUOTED = 200
"""Characters of the app's answer that the user gets to see."""

BUSY_STATUSES = frozenset({408, 425, 429})
"""Client errors (RFC 9110, RFC 8470, RFC 6585) that say "not now" rather than "not this"."""

FALLBACK_NAME = "upload"
UNUSABLE = "the URL to call is not usable"

_NEVER_IN_NAMES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, surrogates, line and paragraph separators."""

_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MARKUP = re.compile(r"<(script|style|title)\b.*?</\1>|<[^>]*>?", re.DOTALL | re.IGNORECASE)


class Verdict(Enum):
    """What an answer, or its absence, means for the upload."""

    DONE = "done"
    WAIT = "wait"
    REFUSED = "refused"
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Answer:
    """`reason` is one line for people, without control characters; `retry_after` is in seconds, if the app said it.

    `heard` is False when the app may have got the callback, but no answer came back.
    """

    verdict: Verdict
    reason: str = ""
    retry_after: float | None = None
    heard: bool = True


@dataclass(slots=True)
class _Heard:
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
        self.body += chunk[: JUDGED - len(self.body)]


class CallbackClient:
    """Makes the POSTs of one worker."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._timeout = settings.handover_timeout
        self._clock = clock
        self._guard = AllowlistResolver(hosts=settings.callback_hosts, networks=settings.callback_networks)

    @cached_property
    def _client(self) -> SimpleAsyncHTTPClient:
        """Bound to the event loop that the first call is made on. It knows nothing of proxies and their variables."""
        return SimpleAsyncHTTPClient(
            force_instance=True, max_clients=MAX_CONNECTIONS, max_body_size=MAX_ANSWER, resolver=self._guard
        )

    async def post(self, ticket: Ticket, callback: Callback) -> Answer:
        """Tells the app, and returns what it makes of it. Raises nothing: a failure is an answer, too."""
        heard = _Heard()
        if not app_host(ticket.options.signal_finish_url):
            return Answer(Verdict.REFUSED, UNUSABLE)
        try:
            await self._client.fetch(self._request(ticket, callback, heard), raise_error=False)
        except CallbackForbidden as error:
            return Answer(Verdict.REFUSED, str(error))
        except (HTTPError, HTTPInputError, UnsatisfiableReadError, OSError) as error:
            if heard.status <= 200 and heard.length <= JUDGED:  # an interim response (1xx) says nothing yet
                return Answer(Verdict.AGAIN, self._describe(error), heard=False)
        except ValueError:
            return Answer(Verdict.REFUSED, UNUSABLE)
        return self._judge(heard, callback)

    def _request(self, ticket: Ticket, callback: Callback, heard: _Heard) -> HTTPRequest:
        body = form(ticket, callback)
        return HTTPRequest(
            ticket.options.signal_finish_url,
            method="POST",
            headers=headers(ticket, callback, body, int(self._clock())),
            body=body,
            user_agent=f"Incoming/{__version__}",
            connect_timeout=min(CONNECT_TIMEOUT, self._timeout),
            request_timeout=self._timeout,
            follow_redirects=False,
            decompress_response=False,
            header_callback=heard.header_line,
            streaming_callback=heard.data,
        )

    def _judge(self, heard: _Heard, callback: Callback) -> Answer:
        if heard.status >= 500 or heard.status in BUSY_STATUSES:
            return Answer(Verdict.AGAIN, _told(heard), _retry_after(heard.headers, self._clock()))
        if callback.cancelled:
            return Answer(Verdict.DONE)  # the app has heard of it, whatever it says
        if heard.status == 200 and heard.length <= JUDGED:
            word = bytes(heard.body).strip()
            if word in (b"done", b"wait"):
                return Answer(Verdict(word.decode()))
        return Answer(Verdict.REFUSED, _told(heard))

    def _describe(self, error: Exception) -> str:
        if isinstance(error, HTTPTimeoutError):
            if "during request" in str(error):
                return f"no answer within {self._timeout:g} s"
            return "no connection in time"
        if isinstance(error, ssl.SSLError):
            return one_line(f"no secure connection: {error.reason or error}")
        if isinstance(error, OSError):
            return one_line(error.strerror or str(error) or type(error).__name__)
        return "the connection was closed without an answer"

    def close(self) -> None:
        """Takes no more calls."""
        self._client.close()


def form(ticket: Ticket, callback: Callback) -> bytes:
    """The body: application/x-www-form-urlencoded, UTF-8, all fields always there."""
    secret = ticket.options.backend_secret
    fields = {
        "id": ticket.id,
        "backendSecret": secret,
        "secret": secret,
        "filename": b"" if callback.cancelled else os.fsencode(ticket.path),
        "filenameFromBrowser": safe_name(ticket.identity.name or ""),
        "cancelled": "yes" if callback.cancelled else "no",
        "cancelReason": ticket.reason if callback.cancelled else "",
    }
    return urllib.parse.urlencode(fields, errors="replace").encode("ascii")


def headers(ticket: Ticket, callback: Callback, body: bytes, timestamp: int) -> dict[str, str]:
    """`Incoming-Delivery` is the same for all attempts of one callback, `Incoming-Attempt` counts them from 1."""
    fields = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Incoming-Delivery": callback.id,
        "Incoming-Attempt": str(callback.attempts),
    }
    if ticket.options.backend_secret:
        fields["Incoming-Timestamp"] = str(timestamp)
        fields["Incoming-Signature"] = f"sha256={sign(ticket.options.backend_secret, timestamp, body)}"
    return fields


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The HMAC-SHA256 (RFC 2104) of timestamp, full stop and body, in hexadecimal digits."""
    return hmac.new(secret.encode(), b"%d.%b" % (timestamp, body), hashlib.sha256).hexdigest()


def safe_name(name: str) -> str:
    """The last component of a file name that a browser told, such that an app can join it to a directory's path.

    No separators of any system, no control characters, none that reverse the direction of text and so disguise an
    extension, and neither `.` nor `..` nor nothing at all.
    """
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(c for c in last if unicodedata.category(c) not in _NEVER_IN_NAMES and c not in _BIDI_CONTROLS)
    return FALLBACK_NAME if kept.strip() in ("", ".", "..") else kept


def app_host(url: str) -> str:
    """host:port of a URL, to tell one app from another; empty when the URL has none."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
    except ValueError:
        return ""
    return f"{parts.hostname}:{port}" if parts.hostname else ""


def one_line(text: str) -> str:
    """Text from outside, fit for a log line and a message: without control characters, and not long."""
    line = " ".join("".join(" " if unicodedata.category(c)[0] == "C" else c for c in text).split())
    return line if len(line) <= QUOTED else line[:QUOTED] + "…"


def _told(heard: _Heard) -> str:
    """What the app said, in one line."""
    text = bytes(heard.body).decode("utf-8", "replace")
    if "html" in heard.headers.get("Content-Type", "").lower():
        text = _MARKUP.sub(" ", text)
    said = one_line(text)
    if heard.status == 200:
        return f"it answered neither 'done' nor 'wait' but '{said}'" if said else "it answered nothing"
    return one_line(f"it answered {heard.status} {heard.phrase}") + (f": {said}" if said else "")


def _retry_after(fields: HTTPHeaders, now: float) -> float | None:
    """Seconds that a Retry-After field asks for (RFC 9110 section 10.2.3: a number of them, or a date)."""
    value = fields.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
