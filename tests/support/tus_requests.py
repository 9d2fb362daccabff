"""Requests of tus 1.0.0 as bytes, for the file of put_requests.py."""

import base64
import hashlib

from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT, ask
from tests.support.raw_http import Answer, request

VERSION = "Tus-Resumable: 1.0.0"
STREAM = "Content-Type: application/offset+octet-stream"


def path(ticket_id: str) -> str:
    return f"/incoming/0.1/frontend/tus/{ticket_id}"


def tus(method: str, ticket_id: str, *headers: str, body: bytes = b"", length: int | None = None) -> bytes:
    """A request with the version. Content-Length as for `request`."""
    return request(method, path(ticket_id), VERSION, *headers, body=body, length=length)


def create(
    ticket_id: str, *headers: str, size: int | None = 100, body: bytes = b"", length: int | None = None
) -> bytes:
    told = () if size is None else (f"Upload-Length: {size}",)
    return tus("POST", ticket_id, *told, *headers, body=body, length=length)


def patch(ticket_id: str, start: int, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """Bytes from `start` on."""
    return tus("PATCH", ticket_id, f"Upload-Offset: {start}", STREAM, *headers, body=body, length=length)


def part(ticket_id: str, start: int, end: int, *headers: str) -> bytes:
    """Bytes [start, end) of CONTENT."""
    return patch(ticket_id, start, CONTENT[start:end], *headers)


def checksum(body: bytes, algorithm: str = "sha1") -> str:
    digest = hashlib.new(algorithm, body).digest()
    return f"Upload-Checksum: {algorithm} {base64.b64encode(digest).decode()}"


def metadata(**pairs: str) -> str:
    return "Upload-Metadata: " + ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items()
    )


async def head(worker: OneWorker, ticket_id: str) -> Answer:
    """What HEAD answers."""
    return await ask(worker, tus("HEAD", ticket_id))


async def offset(worker: OneWorker, ticket_id: str) -> int:
    """Where HEAD says to go on."""
    answer = await head(worker, ticket_id)
    assert answer.status == 200, answer
    return int(answer.headers["upload-offset"])
