"""Requests over HTTP: the upload as a resource, for lines that let no WebSocket through, and for its outcome.

Decides which answer is which error. One chunk is on its way at a time; several connections make up for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from incoming import __version__
from incoming.client.errors import NotTheServer, error_of
from incoming.client.upload.address import UploadAddress
from incoming.client.upload.connection import LIBRARY, ConnectionLost, Greeting
from incoming.core.errors import UploadError
from incoming.wire import client_messages as messages
from incoming.wire.client_messages import Acknowledged, StateNews, Welcome

Client = aiohttp.ClientSession
"""Connections that requests and WebSockets are made over."""

TIMEOUT = 60.0
"""Seconds for an answer, and on top of it the time in which a chunk can go over a very slow line."""

SLOWEST = 2000
"""Bytes a second. What is slower is taken for lost."""


def cause_of(error: Exception) -> str:
    """Return in one line why a connection could not be made, or has ended."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"no secure connection to {error.host}:{error.port}: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {error.host}:{error.port}: {_system_text(error.os_error)}"
    return str(error) or type(error).__name__


def _system_text(error: OSError) -> str:
    """asyncio has put its own text in place of the system's. TLS and resolvers have numbers of their own."""
    if isinstance(error, ssl.SSLError) or not error.errno or error.errno < 0:
        return error.strerror or str(error)
    return os.strerror(error.errno)


class UploadResource:
    """The upload at its URL. Raises ConnectionLost, UploadError, and NotTheServer for what is no server's answer."""

    def __init__(self, client: aiohttp.ClientSession, address: UploadAddress, tls: ssl.SSLContext | None) -> None:
        self._client = client
        self._url = address.http
        self._tls = tls

    async def greet(self, greeting: Greeting) -> Welcome:
        """Send hello and return the welcome."""
        text = messages.hello(greeting.session, greeting.epoch, greeting.identity, LIBRARY)
        _, _, body = await self._request("POST", data=text.encode(), headers={"Content-Type": "text/plain"})
        answer = messages.parse(body)
        if not isinstance(answer, Welcome):
            raise NotTheServer("no answer of an Incoming!! server: no welcome")
        return answer

    async def status(self, *, wait: int = 0, state: str = "") -> dict[str, Any]:
        """Return the status, with `wait` after so many seconds or as soon as it is another than `state`."""
        query = {"wait": str(wait), "state": state} if wait else {}
        _, _, body = await self._request("GET", params=query, more=wait)
        return _status(body)

    async def put(
        self, data: bytes, content_range: str, query: dict[str, str], media_type: str = "application/octet-stream"
    ) -> tuple[int, str]:
        """Send bytes. Return the status, 308 or 200, and the `Range` of the answer."""
        headers = {"Content-Range": content_range, "Content-Type": media_type}
        status, headers, _ = await self._request(
            "PUT", data=io.BytesIO(data), params=query, headers=headers, more=len(data) / SLOWEST
        )
        return status, headers.get("Range", "")

    async def cancel(self, reason: str) -> None:
        """Cancel the upload, and discard what has arrived."""
        await self._request("DELETE", params={"reason": reason})

    async def _request(
        self, method: str, *, more: float = 0.0, headers: dict[str, str] | None = None, **others: Any
    ) -> tuple[int, Any, bytes]:
        headers = {"Accept": "application/json", **(headers or {})}
        try:
            async with (
                asyncio.timeout(TIMEOUT + more),
                self._client.request(
                    method, self._url, headers=headers, allow_redirects=False, ssl=self._tls or True, **others
                ) as answer,
            ):
                body = await answer.read()
        except TimeoutError as error:
            raise ConnectionLost(f"no answer within {TIMEOUT + more:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionLost(cause_of(error)) from error
        if answer.status in (200, 308):
            return answer.status, answer.headers, body
        problem = error_of(answer.status, body)
        if isinstance(problem, UploadError | NotTheServer):
            raise problem
        raise ConnectionLost(str(problem))


class HttpConnection:
    """One request after the other."""

    kind = "http"
    ahead = 1

    def __init__(self, resource: UploadResource, welcome: Welcome, size: int) -> None:
        self._resource = resource
        self.welcome = welcome
        self._size = size
        self._news: asyncio.Queue[Acknowledged] = asyncio.Queue()

    async def send(self, offset: int, data: bytes) -> None:
        """Send a chunk; returns when it is safe."""
        end = offset + len(data)
        query = {"epoch": str(self.welcome.epoch)}
        await self._resource.put(data, f"bytes {offset}-{end - 1}/{self._size}", query)
        self._news.put_nowait(Acknowledged(((offset, end),)))

    async def receive(self) -> Acknowledged | StateNews:
        """Return the next acknowledgement."""
        return await self._news.get()

    async def close(self) -> None:
        """Do nothing: no connection stays open between requests."""


async def open_http(resource: UploadResource, greeting: Greeting) -> HttpConnection:
    """Send hello and return the connection. Raises what UploadResource raises."""
    return HttpConnection(resource, await resource.greet(greeting), greeting.identity.size or 0)


@contextlib.asynccontextmanager
async def client_session(shared: Client | None = None) -> AsyncIterator[Client]:
    """Open connections through the proxies that the environment names, until the end; those of `shared` stay open."""
    if shared is not None:
        yield shared
        return
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers={"User-Agent": f"Incoming/{__version__}"},
        timeout=aiohttp.ClientTimeout(total=None, connect=30.0),
        trust_env=True,
    ) as client:
        yield client


def _status(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
        messages.state_of(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotTheServer("no answer of an Incoming!! server: no status") from error
    return dict(found)
