"""An application as the endpoint of clients that have one for all files, in the frameworks of doc/clients.md."""

import asyncio
import base64
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.incoming_server import IncomingServer
from tests.support.tools import require_node_package, require_tool
from tests.system.clients.snippets import snippet

CONTENT = b"content of a file"
METADATA = {"filename": "größe.txt", "folder": "7"}
HEADERS = {
    "Tus-Resumable": "1.0.0",
    "Upload-Length": str(len(CONTENT)),
    "Upload-Metadata": ",".join(f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in METADATA.items()),
}

Post = Callable[[dict[str, str]], tuple[int, str]]
"""Sends these headers to the endpoint; status and Location of the answer."""


def names(server: IncomingServer) -> dict[str, Any]:
    """What the snippets find around them."""
    found: dict[str, Any] = {
        "INCOMING": server.base_url,
        "TUS": f"{server.base_url}/incoming/0.1/frontend/tus/",
        "APP": "http://127.0.0.1:9/taken",
    }
    exec(snippet("endpoint-python"), found)
    return found


@contextmanager
def flask(server: IncomingServer, directory: Path) -> Iterator[Post]:
    import flask

    app = flask.Flask("app")
    exec(snippet("endpoint-flask"), names(server) | {"app": app, "request": flask.request})

    def post(headers: dict[str, str]) -> tuple[int, str]:
        answer = app.test_client().post("/files", headers=headers)
        return answer.status_code, answer.headers["Location"]

    yield post


@contextmanager
def django(server: IncomingServer, directory: Path) -> Iterator[Post]:
    from django.conf import settings
    from django.http import HttpResponse
    from django.test import RequestFactory
    from django.views.decorators.csrf import csrf_exempt
    from django.views.decorators.http import require_POST

    if not settings.configured:
        settings.configure()
    found = names(server) | {"csrf_exempt": csrf_exempt, "require_POST": require_POST, "HttpResponse": HttpResponse}
    exec(snippet("endpoint-django"), found)

    def post(headers: dict[str, str]) -> tuple[int, str]:
        answer = found["create_upload"](RequestFactory().post("/files", headers=headers))
        return answer.status_code, answer["Location"]

    yield post


@contextmanager
def fastapi(server: IncomingServer, directory: Path) -> Iterator[Post]:
    import fastapi
    import httpx

    app = fastapi.FastAPI()
    around = {"app": app, "Header": fastapi.Header, "Response": fastapi.Response}
    exec(snippet("endpoint-fastapi"), names(server) | around)

    def post(headers: dict[str, str]) -> tuple[int, str]:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
                return await client.post("/files", headers=headers)

        answer = asyncio.run(send())
        return answer.status_code, answer.headers["Location"]

    yield post


@contextmanager
def express(server: IncomingServer, directory: Path) -> Iterator[Post]:
    node = require_tool("node")
    (directory / "node_modules").symlink_to(require_node_package("express").parent)
    known = {name: value for name, value in names(server).items() if name in ("INCOMING", "TUS", "APP")}
    constants = "".join(f"const {name} = {value!r};\n" for name, value in known.items())
    start = 'const listening = app.listen(0, "127.0.0.1", () => console.log(listening.address().port));\n'
    program = directory / "program.mjs"
    program.write_text(
        f'import express from "express";\nconst app = express();\n{constants}{snippet("endpoint-express")}{start}'
    )
    process = subprocess.Popen([node, str(program)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())

        def post(headers: dict[str, str]) -> tuple[int, str]:
            answer = requests.post(f"http://127.0.0.1:{port}/files", headers=headers, timeout=30)
            return answer.status_code, answer.headers["Location"]

        yield post
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("framework", [flask, django, fastapi, express], ids=lambda framework: framework.__name__)
def test_the_app_gives_a_client_its_upload_url(server: IncomingServer, framework: Any, tmp_path: Path) -> None:
    with framework(server, tmp_path) as post:
        status, location = post(HEADERS)
    assert (status, location.startswith(f"{server.base_url}/incoming/0.1/frontend/tus/")) == (201, True)
    tus = {"Tus-Resumable": "1.0.0"}
    head = requests.head(location, headers=tus, timeout=30)
    assert (head.status_code, head.headers["Upload-Length"], head.headers["Upload-Offset"]) == (200, "17", "0")
    appended = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    assert requests.patch(location, CONTENT, headers=appended, timeout=30).status_code == 204
    told = requests.get(location, timeout=30).json()
    assert (told["name"], told["size"], told["metadata"]) == ("größe.txt", 17, METADATA)
    assert told["state"] in ("arrived", "handing_over")
