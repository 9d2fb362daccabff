"""`incoming check proxy URL`: whether what is in front of the server lets uploads through, and keeps strangers out.

Decides what is tried and what a proxy should be told to do. It sends a little with a ticket of its own, by the URL that
browsers use, looks at what arrives, and cancels. Does not try whether a proxy ends long requests.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp

from incoming.cli.checks.findings import Findings
from incoming.client import AsyncTickets, NotTheServer, Unreachable, UploadError
from incoming.client.errors import error_of
from incoming.client.upload.address import UploadAddress
from incoming.client.upload.connection import ConnectionLost, Greeting, WebSocketUnusable
from incoming.client.upload.http_connection import UploadResource, client_session
from incoming.client.upload.websocket_connection import open_websocket
from incoming.core.errors import Forbidden, MethodNotAllowed, NotFound, UnknownTicket
from incoming.core.identity import Identity
from incoming.wire.client_messages import Acknowledged

BODY = 8 * 1024 * 1024
"""Bytes: the largest chunk of the library, which a proxy must let through."""

FIRST_PART = 256 * 1024
STREAMING_TIMEOUT = 6.0
"""Seconds for the beginning of a body to reach the server. It stores what arrives at least every two."""

UNKNOWN_TICKET = "00000000-0000-4000-8000-000000000000"
ORIGIN = "https://app.example.org"
SOON = 14 * 86400
"""Seconds that a certificate should still be good for."""

REQUESTS = (NotTheServer, UploadError, Unreachable)


class ProxyCheck:
    """One check. `url` is the server as browsers reach it, `direct` as this machine does."""

    def __init__(self, url: str, direct: str, token: str, tls: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._direct = direct
        self._token = token
        self._tls = tls
        self._found = Findings("proxy")
        self._secret = secrets.token_urlsafe(16)
        self._greeting = Greeting("incoming-check", None, Identity(name="check", size=4 * BODY))

    async def run(self) -> Findings:
        """Return what was found."""
        try:
            await self._check_certificate()
            tickets = AsyncTickets(self._direct, token=self._token, retry_for=0)
            ticket = await tickets.new_upload("http://127.0.0.1:9/check", secret=self._secret)
        except REQUESTS as error:
            self._found.fault(f"no ticket from the server at {self._direct}: {error}", "see --server and backend_token")
            return self._found
        try:
            async with client_session() as client:
                await self._check_all(client, UploadAddress(self._url, ticket))
        finally:
            await tickets.cancel(ticket, secret=self._secret)
        return self._found

    async def _check_all(self, client: aiohttp.ClientSession, address: UploadAddress) -> None:
        resource = UploadResource(client, address, self._tls)
        try:
            await resource.status()
        except REQUESTS as error:
            self._found.fault(
                f"{self._url} does not lead to the server: {error}", "forward /incoming/ with its path unchanged"
            )
            return
        self._found.good(f"{self._url} leads to the server")
        await self._check_library(client)
        await self._check_websocket(client, address)
        await self._check_body(resource)
        await self._check_buffering(client, resource, address)
        await self._check_preflight(client, address)
        await self._check_strangers(client)
        await self._check_delete(client)

    async def _check_library(self, client: aiohttp.ClientSession) -> None:
        status, body = await self._get(client, "/incoming/0.1/frontend/incoming.js")
        if status == 200 and b"Uploader" in body:
            self._found.good("the library can be loaded")
        else:
            self._found.fault(f"the library cannot be loaded: status {status}", "forward all of /incoming/")

    async def _check_websocket(self, client: aiohttp.ClientSession, address: UploadAddress) -> None:
        cure = "pass Upgrade and Connection on, by HTTP/1.1, and buffer nothing; see doc/installation.md"
        try:
            connection = await open_websocket(client, address, self._greeting, self._tls)
        except (WebSocketUnusable, *REQUESTS) as error:
            return self._found.fault(f"no WebSocket gets through: {error}", cure)
        try:
            async with asyncio.timeout(STREAMING_TIMEOUT):
                await connection.send(0, bytes(64 * 1024))
                while not isinstance(await connection.receive(), Acknowledged):
                    pass
            self._found.good("WebSockets get through, and so do binary messages")
        except (TimeoutError, ConnectionLost) as error:
            reason = str(error) or f"nothing arrived within {STREAMING_TIMEOUT:g} s"
            self._found.fault(f"a WebSocket opens, but a chunk does not get through: {reason}", cure)
        finally:
            await connection.close()

    async def _check_body(self, resource: UploadResource) -> None:
        try:
            await resource.put(bytes(BODY), f"bytes {BODY}-{2 * BODY - 1}/{4 * BODY}", {})
            self._found.good(f"bodies of {BODY // 1024 // 1024} MiB get through")
        except REQUESTS as error:
            self._found.fault(
                f"a body of {BODY // 1024 // 1024} MiB does not get through: {error}",
                "lift the limit of bodies for /incoming/ (client_max_body_size 0)",
            )

    async def _check_buffering(
        self, client: aiohttp.ClientSession, resource: UploadResource, address: UploadAddress
    ) -> None:
        """Send the beginning of a body, and look whether it arrives before its end has been sent."""
        before = int((await resource.status())["arrived"])
        may_end = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield bytes(FIRST_PART)
            await may_end.wait()
            yield bytes(FIRST_PART)

        start = 2 * BODY
        headers = {
            "Content-Range": f"bytes {start}-{start + 2 * FIRST_PART - 1}/{4 * BODY}",
            "Content-Length": str(2 * FIRST_PART),
        }
        sending = asyncio.create_task(
            self._status_of(client.put(address.http, data=body(), headers=headers, ssl=self._tls or True))
        )
        arrived = await self._grows(resource, before)
        may_end.set()
        await asyncio.wait({sending}, timeout=STREAMING_TIMEOUT)
        sending.cancel()
        if arrived:
            self._found.good("bodies arrive while they are sent")
        else:
            self._found.fault("a body arrives only when all of it was sent", "proxy_request_buffering off")

    async def _grows(self, resource: UploadResource, before: int) -> bool:
        deadline = time.monotonic() + STREAMING_TIMEOUT
        while time.monotonic() < deadline:
            if int((await resource.status())["arrived"]) > before:
                return True
            await asyncio.sleep(0.25)
        return False

    async def _check_preflight(self, client: aiohttp.ClientSession, address: UploadAddress) -> None:
        headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
        status = await self._status_of(client.options(address.http, headers=headers, ssl=self._tls or True))
        if status in (200, 204):
            self._found.good("preflights (OPTIONS) get through")
        elif status == 403:
            self._found.note(f"a page of {ORIGIN} may not upload, as allowed_origins says")
        else:
            self._found.fault(f"a preflight gets status {status}", "forward OPTIONS to the server")

    async def _check_strangers(self, client: aiohttp.ClientSession) -> None:
        """Find functions for backends and operators that can be reached through the proxy."""
        url = f"{self._url}/incoming/0.1/backend/new_upload"
        try:
            async with client.post(url, headers={"Accept": "application/json"}, ssl=self._tls or True) as answer:
                problem = error_of(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            problem = Unreachable(str(error))
        if isinstance(problem, Forbidden | NotFound | MethodNotAllowed | NotTheServer | Unreachable):
            self._found.good("the backend functions cannot be called by this way")
        else:
            self._found.fault(
                "the backend functions can be called by this way, at least from this machine",
                "let the proxy refuse /incoming/*/backend/, and set backend_token; see doc/installation.md",
            )

    async def _check_delete(self, client: aiohttp.ClientSession) -> None:
        """Cancel an upload that is none: the server's own refusal shows that the request reaches it."""
        nobody = UploadResource(client, UploadAddress(self._url, UNKNOWN_TICKET), self._tls)
        try:
            await nobody.cancel("check")
        except UnknownTicket:
            self._found.good("DELETE gets through")
        except REQUESTS as error:
            self._found.fault(f"DELETE does not get through: {error}", "forward all methods to the server")

    async def _check_certificate(self) -> None:
        parts = urlsplit(self._url)
        if parts.scheme != "https":
            if parts.hostname not in ("localhost", "127.0.0.1", "::1"):
                self._found.fault("files and tickets can be read on the way (http)", "serve it by https")
            return
        try:
            left = await asyncio.to_thread(_days_left, str(parts.hostname), parts.port or 443, self._tls)
        except (ssl.SSLError, OSError) as error:
            self._found.fault(f"no secure connection: {error}", "install a certificate for this name, with its chain")
            return
        if left * 86400 < SOON:
            self._found.fault(f"the certificate is good for {left:.0f} more days", "renew it, and automate that")
        else:
            self._found.good(f"the certificate is good for {left:.0f} days")

    async def _get(self, client: aiohttp.ClientSession, path: str) -> tuple[int, bytes]:
        try:
            async with client.get(self._url + path, ssl=self._tls or True) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, b""

    async def _status_of(self, request: aiohttp.client._RequestContextManager) -> int:
        try:
            async with asyncio.timeout(30), request as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0


def _days_left(host: str, port: int, tls: ssl.SSLContext | None) -> float:
    context = tls or ssl.create_default_context()
    with (
        socket.create_connection((host, port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname=host) as it,
    ):
        certificate = it.getpeercert() or {}
    return (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86400
