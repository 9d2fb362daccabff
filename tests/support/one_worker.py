"""One worker inside the test: real stores, real services, the real HTTP server on a free port, in the test's own loop.

What runs beside the requests in production (callbacks, sweeping) does not run here unless the test starts it.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from incoming.handlers.services import Services
from incoming.server.worker import close_services, http_server, open_services
from incoming.settings.settings import load_settings

FORM = "application/x-www-form-urlencoded"


class OneWorker:
    """A client's view of the worker; `services` and `server` are the inside."""

    def __init__(self, services: Services, server: HTTPServer, port: int) -> None:
        self.services = services
        self.server = server
        self.port = port

    async def fetch(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> HTTPResponse:
        """Any request; an error status is an answer, not an exception."""
        return await AsyncHTTPClient().fetch(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            body=body,
            headers=headers or {},
            raise_error=False,
            follow_redirects=False,
            allow_nonstandard_methods=True,
        )

    async def call(self, function: str, /, prefix: str = "/incoming/0.1", **given: str) -> tuple[int, str]:
        """A backend function with form values: status and text."""
        return await self.post(f"{prefix}/backend/{function}", urlencode(given).encode(), {"Content-Type": FORM})

    async def post(self, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Any POST: status and text."""
        response = await self.fetch("POST", path, body, headers)
        return response.code, response.body.decode()

    async def ticket(self, **given: str) -> str:
        """A new ticket's id."""
        status, answer = await self.call("new_upload", signalFinishURL="http://127.0.0.1:9/done", **given)
        assert status == 200, answer
        return answer

    async def upload(self, ticket_id: str, content: bytes = b"content") -> None:
        """Sends a whole file, so that the upload has arrived."""
        response = await self.fetch("PUT", f"/incoming/frontend/upload/{ticket_id}?filename=a", content)
        assert response.code == 200, response.body

    async def state(self, ticket_id: str) -> str:
        """The upload's state by its status resource."""
        response = await self.fetch("GET", f"/incoming/frontend/upload/{ticket_id}")
        assert response.code == 200, response.body
        return str(json.loads(response.body)["state"])


@asynccontextmanager
async def one_worker(storage_dir: Path, *options: str) -> AsyncIterator[OneWorker]:
    """A worker with these command-line options."""
    settings = load_settings(["--storage-dir", str(storage_dir), *options], {})
    storage_dir.mkdir(exist_ok=True)
    services = await open_services(settings)
    server = http_server(services)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield OneWorker(services, server, sockets[0].getsockname()[1])
    finally:
        server.stop()
        await services.upload_service.drain()
        await server.close_all_connections()
        await close_services(services)
