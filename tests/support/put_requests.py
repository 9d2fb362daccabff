"""Requests to the PUT endpoint as bytes, for a file of 100 bytes."""

import json

from tests.support.one_worker import OneWorker
from tests.support.raw_http import Answer, RawConnection, request

CONTENT = bytes(offset % 251 for offset in range(100))


def path(ticket_id: str, query: str = "") -> str:
    return f"/incoming/0.1/frontend/upload/{ticket_id}{query}"


def put(ticket_id: str, content_range: str | None, *headers: str, body: bytes = b"", query: str = "") -> bytes:
    told = () if content_range is None else (f"Content-Range: {content_range}",)
    return request("PUT", path(ticket_id, query), *told, *headers, body=body)


def piece(ticket_id: str, start: int, end: int, total: object = 100, *headers: str, query: str = "") -> bytes:
    """Bytes [start, end) of CONTENT."""
    return put(ticket_id, f"bytes {start}-{end - 1}/{total}", *headers, body=CONTENT[start:end], query=query)


def post(ticket_id: str, message: object, *headers: str) -> bytes:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return request("POST", path(ticket_id), "Content-Type: text/plain", "Accept: application/json", *headers, body=body)


async def ask(worker: OneWorker, data: bytes) -> Answer:
    """One request on a connection of its own."""
    connection = await RawConnection.open(worker.port)
    answer = await connection.ask(data)
    connection.close()
    return answer
