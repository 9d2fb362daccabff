"""The functions of a server that an application's backend calls: new_upload, cancel_upload, finish_upload.

Decides how Python values become parameters, and when a call is repeated. Repeating is safe: cancelling and finishing
twice is one, and a ticket that nobody uses expires. What the parameters mean, and which are acceptable, the server
decides: doc/api.md.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from incoming.client.backoff import Backoff
from incoming.client.errors import NotTheServer, Unreachable, error_of, json_object
from incoming.client.http_exchange import Answer, exchange
from incoming.core.errors import UploadError

TIMEOUT = 20.0
"""Seconds for an answer. A trial call to the application, if there is one, takes at most 10 of them."""

RETRY_FOR = 10.0
"""Seconds, by default, for which a call is repeated that got no answer, or one that asks to come again."""

Value = str | int | bool | Iterable[str] | Mapping[str, object]
"""A parameter: a mapping is sent as JSON, several words with commas between them."""


@dataclass(frozen=True, slots=True)
class _Server:
    """Where calls go, and what every one has."""

    url: str
    token: str
    timeout: float
    tls: ssl.SSLContext | None

    def call(self, function: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Call once, and return the answer's fields. Raises UploadError, Unreachable, NotTheServer."""
        body = urlencode(parameters).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        url = f"{self.url}/incoming/0.1/backend/{function}"
        return _result(exchange("POST", url, body, headers, self.timeout, self.tls))


class _Functions:
    """What both kinds of Tickets have: the server, and the parameters of each function."""

    def __init__(
        self,
        server: str,
        *,
        token: str = "",
        retry_for: float = RETRY_FOR,
        timeout: float = TIMEOUT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`server` is its URL, such as http://localhost:4000, `token` its `backend_token` if it has one, times are in
        seconds, and `tls` is for authorities of your own. Raises ValueError for anything but an http or https URL.
        """
        self._server = _Server(_server_url(server), token, timeout, tls)
        self._retry_for = retry_for


class Tickets(_Functions):
    """The backend functions for threads and processes. An instance may be used by many threads at once.

    Every function raises the server's error (incoming.core.errors.UploadError and its subclasses), Unreachable (an
    OSError) when there was no answer for `retry_for` seconds, and NotTheServer.
    """

    def new_upload(self, signal_finish_url: str, *, secret: str = "", **options: Value) -> str:
        """Return a new ticket. `options` are the other parameters by the names of doc/api.md: maxSize=2**30."""
        return str(self._call("new_upload", _new_upload(signal_finish_url, secret, options))["ticket"])

    def new_uploads(self, count: int, signal_finish_url: str, *, secret: str = "", **options: Value) -> list[str]:
        """Return `count` new tickets of the same options, all or none, from one request."""
        return _several(self._call("new_upload", _new_upload(signal_finish_url, secret, {**options, "count": count})))

    def cancel(self, upload_id: str, *, secret: str = "") -> None:
        """Cancel an upload; to do so twice is no error."""
        self._call("cancel_upload", {"id": upload_id, "backendSecret": secret})

    def finish(self, upload_id: str, *, secret: str = "") -> None:
        """Finish an upload for which the callback was answered with 'wait'; to do so twice is no error."""
        self._call("finish_upload", {"id": upload_id, "backendSecret": secret})

    def _call(self, function: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        backoff = Backoff(self._retry_for)
        while True:
            try:
                return self._server.call(function, parameters)
            except (UploadError, Unreachable) as error:
                time.sleep(_pause(backoff, error))


class AsyncTickets(_Functions):
    """The same for coroutines, on any asyncio loop: each request is made on a thread of the loop's default executor."""

    async def new_upload(self, signal_finish_url: str, *, secret: str = "", **options: Value) -> str:
        """Return a new ticket; see Tickets.new_upload."""
        return str((await self._call("new_upload", _new_upload(signal_finish_url, secret, options)))["ticket"])

    async def new_uploads(self, count: int, signal_finish_url: str, *, secret: str = "", **options: Value) -> list[str]:
        """Return `count` new tickets; see Tickets.new_uploads."""
        given = _new_upload(signal_finish_url, secret, {**options, "count": count})
        return _several(await self._call("new_upload", given))

    async def cancel(self, upload_id: str, *, secret: str = "") -> None:
        """Cancel an upload; see Tickets.cancel."""
        await self._call("cancel_upload", {"id": upload_id, "backendSecret": secret})

    async def finish(self, upload_id: str, *, secret: str = "") -> None:
        """Finish an upload; see Tickets.finish."""
        await self._call("finish_upload", {"id": upload_id, "backendSecret": secret})

    async def _call(self, function: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        backoff = Backoff(self._retry_for)
        while True:
            try:
                return await asyncio.to_thread(self._server.call, function, parameters)
            except (UploadError, Unreachable) as error:
                await asyncio.sleep(_pause(backoff, error))


def _pause(backoff: Backoff, error: UploadError | Unreachable) -> float:
    """Return the seconds until the call may be repeated; raise the error if it must not."""
    if isinstance(error, UploadError) and not error.retry:
        raise error
    pause = backoff.next_pause(error.retry_after if isinstance(error, UploadError) else None)
    if pause is None:
        raise error
    return pause


def _new_upload(signal_finish_url: str, secret: str, options: Mapping[str, Value]) -> dict[str, str]:
    given = {name: _text(value) for name, value in options.items()}
    return {"signalFinishURL": signal_finish_url, "backendSecret": secret, **given}


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return json.dumps(value)
    return str(value) if isinstance(value, str | int) else ",".join(value)


def _result(answer: Answer) -> dict[str, Any]:
    """Return the fields of a successful answer; raise what any other one means."""
    if answer.status != 200:
        raise error_of(answer.status, answer.body)
    described = json_object(answer.body)
    if described is not None and isinstance(described.get("ticket"), str):
        return described
    text = answer.body.decode("utf-8", "replace").strip()
    if not text or len(text) > 100 or text.startswith(("<", "{")):
        raise NotTheServer(f"no answer of an Incoming!! server: HTTP status 200 and {text[:100]!r}")
    return {"ticket": text}  # of a server before 0.2


def _several(described: Mapping[str, Any]) -> list[str]:
    if "tickets" not in described:
        raise NotTheServer("this server is older than 0.2 and does not know 'count'")
    return [str(ticket) for ticket in described["tickets"]]


def _server_url(server: str) -> str:
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{server!r} is not the URL of a server, such as http://localhost:4000")
    return server.rstrip("/")
