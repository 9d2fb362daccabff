"""Each row of the tables of tus 1.0.0 (doc/tus.md): what is asked in which situation, what comes back and is stored."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest

from incoming.core.extents import Extents
from incoming.core.ticket import Event, State, Ticket
from tests.integration.handlers.conftest import StartWorker, look, reaches, stored
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT, ask
from tests.support.put_requests import piece as put_piece
from tests.support.raw_http import Answer, RawConnection, chunked, request
from tests.support.tus_requests import STREAM, VERSION, checksum, create, head, metadata, part, patch, path, tus

Situation = Callable[[OneWorker, str], Awaitable[None]]


async def new(worker: OneWorker, ticket: str) -> None:
    """Nobody has said anything."""


async def created(worker: OneWorker, ticket: str) -> None:
    assert (await ask(worker, create(ticket))).status == 201


async def deferred(worker: OneWorker, ticket: str) -> None:
    assert (await ask(worker, create(ticket, "Upload-Defer-Length: 1", size=None))).status == 201
    assert (await ask(worker, part(ticket, 0, 50))).status == 204


async def half(worker: OneWorker, ticket: str) -> None:
    await created(worker, ticket)
    assert (await ask(worker, part(ticket, 0, 50))).status == 204


async def holed(worker: OneWorker, ticket: str) -> None:
    """Another dialect has sent the middle."""
    await half(worker, ticket)
    assert (await ask(worker, put_piece(ticket, 60, 80))).status == 308


async def done(worker: OneWorker, ticket: str) -> None:
    await half(worker, ticket)
    assert (await ask(worker, part(ticket, 50, 100))).status == 204


async def cancelled(worker: OneWorker, ticket: str) -> None:
    await half(worker, ticket)
    assert await worker.call("cancel_upload", id=ticket) == (200, "ok")


async def failed(worker: OneWorker, ticket: str) -> None:
    await done(worker, ticket)

    def refuse(known: Ticket) -> Ticket:
        return known.move(Event.CALL, time.time()).refuse("the app does not want it", time.time())

    await worker.services.tickets.update(ticket, refuse)


@dataclass
class Row:
    """`asked` is the request; `offset` and `code` are what its answer says, `prefix` what is there afterwards."""

    name: str
    begun: Situation
    asked: Callable[[str], bytes]
    status: int
    offset: int | None = None
    code: int | None = None
    prefix: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    ticket: dict[str, str] = field(default_factory=dict)


def bare(method: str, *headers: str) -> Callable[[str], bytes]:
    """Without a version."""
    return lambda t: request(method, path(t), JSON, *headers)


def with_body(*headers: str, body: bytes = CONTENT[:50], size: int | None = 100) -> Callable[[str], bytes]:
    return lambda t: create(t, *headers, size=size, body=body)


def unannounced(ticket_id: str, start: int, *pieces: bytes) -> bytes:
    """An append whose length is not announced."""
    return patch(ticket_id, start, b"", "Transfer-Encoding: chunked", length=-1) + chunked(*pieces)


JSON = "Accept: application/json"
FILEPOND = "Upload-Name: film.mp4"
ANY = [
    Row("no version", created, bare("HEAD"), 412, headers={"tus-version": "1.0.0"}),
    Row("no version", created, bare("PATCH", STREAM, "Upload-Offset: 0"), 412, code=111, prefix=0),
    Row("another version", new, bare("POST", "Tus-Resumable: 0.2.2", "Upload-Length: 1"), 412, code=111),
    Row("no version", done, bare("DELETE"), 412, code=111),
    Row("unknown", new, lambda t: tus("HEAD", "unknown"), 404),
    Row("unknown", new, lambda t: part("unknown", 0, 10, JSON), 404, code=200),
    Row("another name below", new, lambda t: tus("HEAD", f"{t}/other"), 404),
    Row("cancelled", cancelled, lambda t: tus("HEAD", t), 410),
    Row("cancelled", cancelled, lambda t: part(t, 50, 60, JSON), 410, code=302),
    Row("cancelled", cancelled, lambda t: create(t), 410),
    Row("failed", failed, lambda t: tus("HEAD", t), 410),
    Row("failed", failed, lambda t: tus("DELETE", t), 410),
    Row(
        "origin",
        created,
        lambda t: tus("HEAD", t, "Origin: https://b.org"),
        403,
        options=("--allowed-origins", "https://a.org"),
    ),
    Row("encoding", created, lambda t: part(t, 0, 10, "Content-Encoding: gzip"), 415, prefix=0),
    Row("encoding", created, lambda t: part(t, 0, 10, "Content-Encoding: identity"), 204, offset=10),
    Row("PUT", created, lambda t: tus("PUT", t), 405, headers={"allow": "GET, HEAD, POST, DELETE, PATCH, OPTIONS"}),
    Row("GET", half, bare("GET"), 200),
    Row(
        "override",
        half,
        lambda t: tus("POST", t, "X-HTTP-Method-Override: patch", STREAM, "Upload-Offset: 50", body=CONTENT[50:]),
        204,
        offset=100,
    ),
    Row(
        "override",
        half,
        lambda t: tus("POST", t, "X-HTTP-Method-Override: HEAD"),
        200,
        offset=50,
        headers={"content-length": "0"},
    ),
    Row("override", half, lambda t: tus("POST", t, "X-HTTP-Method-Override: Delete"), 204),
    Row(
        "override",
        half,
        lambda t: tus("POST", t, "X-HTTP-Method-Override: PUT", JSON),
        405,
        code=105,
    ),
    Row("override of no POST", half, lambda t: tus("HEAD", t, "X-HTTP-Method-Override: PUT"), 200, offset=50),
]

CREATION = [
    Row("length", new, lambda t: create(t), 201, offset=0),
    Row(
        "length, as a form", new, lambda t: create(t, "Content-Type: application/x-www-form-urlencoded"), 201, offset=0
    ),
    Row("again", half, lambda t: create(t), 201, offset=50),
    Row("again when done", done, lambda t: create(t), 201, offset=100),
    Row("again with the body when done", done, with_body(STREAM), 201, offset=100),
    Row("another length", half, lambda t: create(t, JSON, size=101), 400, code=400, prefix=50),
    Row("another length when done", done, lambda t: create(t, JSON, size=99), 400, code=400),
    Row("deferred", new, lambda t: create(t, "Upload-Defer-Length: 1", size=None), 201, offset=0),
    Row("both", new, lambda t: create(t, "Upload-Defer-Length: 1"), 400),
    Row("neither", new, lambda t: create(t, size=None), 400),
    Row("deferred by 0", new, lambda t: create(t, "Upload-Defer-Length: 0", size=None), 400),
    Row("no number", new, lambda t: create(t, "Upload-Length: -1", size=None), 400),
    Row("no number", new, lambda t: create(t, "Upload-Length: 1 000", size=None), 400),
    Row("too large a number", new, lambda t: create(t, size=2**53), 400),
    Row(
        "above the server's limit",
        new,
        lambda t: create(t, JSON),
        413,
        code=401,
        options=("--max-size", "99"),
    ),
    Row(
        "above the ticket's limit",
        new,
        lambda t: create(t, JSON),
        413,
        code=401,
        ticket={"maxSize": "99"},
    ),
    Row("empty file", new, lambda t: create(t, size=0), 201, offset=0),
    Row("metadata", new, lambda t: create(t, metadata(filename="a.txt", extra="x")), 201, offset=0),
    Row("no metadata", new, lambda t: create(t, "Upload-Metadata: "), 201, offset=0),
    Row("metadata that is no Base64", new, lambda t: create(t, "Upload-Metadata: filename %%%"), 400),
    Row("a key twice", new, lambda t: create(t, "Upload-Metadata: a YQ==,a YQ=="), 400),
    Row(
        "another type",
        new,
        lambda t: create(t, metadata(filename="a.txt"), JSON),
        415,
        code=402,
        ticket={"allowedTypes": "image/*"},
    ),
    Row("a part", new, with_body(STREAM), 201, offset=50),
    Row("a part that is known", half, with_body(STREAM, body=CONTENT[:70]), 201, offset=70),
    Row("the whole", new, with_body(STREAM, body=CONTENT), 201, offset=100),
    Row(
        "chunked",
        new,
        lambda t: create(t, STREAM, "Transfer-Encoding: chunked", length=-1) + chunked(CONTENT[:30]),
        201,
        offset=30,
    ),
    Row("a body of another type", new, with_body("Content-Type: image/png"), 415, code=None, prefix=0),
    Row("a body of no type", new, with_body(), 415, prefix=0),
    Row("more than the length", new, with_body(STREAM, body=CONTENT + b"x"), 413, prefix=0),
    Row("with a checksum", new, with_body(STREAM, checksum(CONTENT[:50])), 201, offset=50),
    Row("with another checksum", new, with_body(STREAM, checksum(b"")), 460, prefix=0),
    Row("with a part of a file in parts", new, lambda t: create(t, "Upload-Concat: unknown"), 400),
]

PATCHES = [
    Row(
        "another type",
        half,
        lambda t: tus("PATCH", t, "Upload-Offset: 50", "Content-Type: image/png", body=b"x"),
        415,
        prefix=50,
    ),
    Row("no type", half, lambda t: tus("PATCH", t, "Upload-Offset: 50", body=b"x"), 415, prefix=50),
    Row("no offset", half, lambda t: tus("PATCH", t, STREAM, body=b"x"), 400, prefix=50),
    Row("no number", half, lambda t: tus("PATCH", t, STREAM, "Upload-Offset: x", body=b"x"), 400, prefix=50),
    Row("before", half, lambda t: part(t, 40, 60, JSON), 409, offset=50, code=110, prefix=50),
    Row("behind", half, lambda t: part(t, 60, 80), 409, offset=50, prefix=50),
    Row("the prefix", half, lambda t: part(t, 50, 60), 204, offset=60),
    Row("into what is there", holed, lambda t: part(t, 50, 70), 204, offset=80),
    Row(
        "over what is there", holed, lambda t: patch(t, 50, CONTENT[50:60] + b"x" * 20 + CONTENT[80:]), 204, offset=100
    ),
    Row("the last byte", half, lambda t: part(t, 50, 100), 204, offset=100),
    Row("without creation", new, lambda t: part(t, 0, 10), 204, offset=10),
    Row("the length, later", deferred, lambda t: part(t, 50, 100, "Upload-Length: 100"), 204, offset=100),
    Row("the length alone", deferred, lambda t: patch(t, 50, b"", "Upload-Length: 50"), 204, offset=50),
    Row("less than has arrived", deferred, lambda t: patch(t, 50, b"", "Upload-Length: 49"), 400, prefix=50),
    Row("the length again", half, lambda t: part(t, 50, 60, "Upload-Length: 100"), 204, offset=60),
    Row(
        "another length",
        half,
        lambda t: part(t, 50, 60, "Upload-Length: 99", JSON),
        400,
        code=400,
        prefix=50,
    ),
    Row("beyond the file", half, lambda t: patch(t, 50, bytes(51)), 413, prefix=50),
    Row(
        "beyond the file, chunked",
        half,
        lambda t: unannounced(t, 50, CONTENT[50:], b"x"),
        413,
    ),
    Row("beyond the limit", deferred, lambda t: part(t, 50, 100), 413, prefix=50, options=("--max-size", "99")),
    Row("empty", half, lambda t: patch(t, 50, b""), 204, offset=50),
    Row("empty, elsewhere", half, lambda t: patch(t, 40, b""), 409, offset=50),
    Row("done, empty", done, lambda t: patch(t, 100, b""), 204, offset=100),
    Row("done, empty and chunked", done, lambda t: unannounced(t, 100), 204, offset=100),
    Row("done, more", done, lambda t: patch(t, 100, b"x"), 413),
    Row("done, more and chunked", done, lambda t: unannounced(t, 100, b"x"), 413),
    Row("done, before", done, lambda t: part(t, 50, 100), 409, offset=100),
    Row("a chunk of FilePond again", half, lambda t: part(t, 30, 60, FILEPOND), 204, offset=60),
    Row("a chunk of FilePond that is known", half, lambda t: part(t, 10, 30, FILEPOND), 204, offset=50),
    Row("a chunk of FilePond behind", half, lambda t: part(t, 60, 80, FILEPOND), 409, offset=50),
    Row("a chunk of FilePond over what is there", half, lambda t: patch(t, 0, b"x" * 50, FILEPOND), 204, offset=50),
    Row("done, the last chunk of FilePond again", done, lambda t: part(t, 40, 100, FILEPOND), 204, offset=100),
    Row("done, FilePond beyond the end", done, lambda t: patch(t, 40, bytes(61), FILEPOND), 413),
    Row("checksum", half, lambda t: part(t, 50, 60, checksum(CONTENT[50:60], "sha256")), 204, offset=60),
    Row("checksum", half, lambda t: part(t, 50, 60, checksum(CONTENT[50:60], "md5")), 204, offset=60),
    Row("checksum", half, lambda t: patch(t, 50, b"1234", "Upload-Checksum: crc32 m+Pgow=="), 204, offset=54),
    Row("checksum to the end", half, lambda t: part(t, 50, 100, checksum(CONTENT[50:])), 204, offset=100),
    Row(
        "another checksum",
        half,
        lambda t: part(t, 50, 100, checksum(b""), JSON),
        460,
        code=113,
        prefix=50,
    ),
    Row("checksum of nothing", half, lambda t: patch(t, 50, b"", checksum(b"")), 204, offset=50),
    Row("another one of nothing", half, lambda t: patch(t, 50, b"", checksum(b"x")), 460, prefix=50),
    Row("unknown algorithm", half, lambda t: part(t, 50, 60, "Upload-Checksum: sha3 AAAA"), 400, prefix=50),
    Row("no Base64", half, lambda t: part(t, 50, 60, "Upload-Checksum: sha1 ?"), 400, prefix=50),
    Row("no checksum's length", half, lambda t: part(t, 50, 60, "Upload-Checksum: sha1 AAAA"), 460, prefix=50),
]

OTHERS = [
    Row("HEAD", new, lambda t: tus("HEAD", t), 200, offset=0, headers={"upload-defer-length": "1"}),
    Row(
        "HEAD",
        half,
        lambda t: tus("HEAD", t),
        200,
        offset=50,
        headers={"upload-length": "100", "cache-control": "no-store"},
    ),
    Row("HEAD", holed, lambda t: tus("HEAD", t), 200, offset=50),
    Row("HEAD", done, lambda t: tus("HEAD", t), 200, offset=100, headers={"upload-length": "100"}),
    Row("DELETE", half, lambda t: tus("DELETE", t), 204),
    Row("DELETE again", cancelled, lambda t: tus("DELETE", t), 204),
    Row("DELETE when done", done, lambda t: tus("DELETE", t, JSON), 403, code=300),
    Row("the ticket twice", half, lambda t: tus("HEAD", f"{t}/{t.upper()}"), 200, offset=50),
    Row("in upper case", half, lambda t: tus("HEAD", t.upper()), 200, offset=50),
    Row(
        "OPTIONS",
        new,
        bare("OPTIONS"),
        200,
        headers={"tus-version": "1.0.0", "content-length": "0", "tus-checksum-algorithm": "sha1,sha256,md5,crc32"},
    ),
    Row(
        "OPTIONS of nothing",
        new,
        lambda t: request("OPTIONS", path("unknown")),
        200,
        headers={"tus-max-size": "5"},
        options=("--max-size", "5"),
    ),
]


@pytest.mark.parametrize("row", ANY + CREATION + PATCHES + OTHERS, ids=lambda row: f"{row.begun.__name__}: {row.name}")
async def test_each_documented_request_gets_its_answer(start_worker: StartWorker, row: Row) -> None:
    worker = await start_worker(*row.options)
    ticket_id = await worker.ticket(**row.ticket)
    await row.begun(worker, ticket_id)
    connection = await RawConnection.open(worker.port)
    asked = row.asked(ticket_id)
    await connection.send(asked)
    answer = await connection.answer() if not asked.startswith(b"HEAD") else await head_answer(connection)
    assert answer.status == row.status, answer
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert answer.headers.get("upload-offset") == (None if row.offset is None else str(row.offset))
    if row.code is not None:
        assert answer.json["code"] == row.code
    assert row.headers.items() <= answer.headers.items()
    connection.close()
    ticket = await look(worker, ticket_id)
    if (prefix := row.prefix if row.offset is None else row.offset) is not None:
        assert ticket.extents.prefix == prefix
    if prefix and row.begun is not new:
        known = min(50, prefix)
        assert stored(worker, ticket)[:known] == CONTENT[:known]


async def head_answer(connection: RawConnection) -> Answer:
    """Its Content-Length is of a body that does not come."""
    head = (await connection.reader.readuntil(b"\r\n\r\n")).decode("latin1")
    first, *lines = head[:-4].split("\r\n")
    fields = (line.split(":", 1) for line in lines)
    return Answer(int(first.split(" ")[1]), "", {name.lower(): value.strip() for name, value in fields}, b"")


# --- what the rows do not show ----------------------------------------------------------------------------------------


async def test_the_location_leads_back_from_wherever_it_is_resolved(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    for asked in (ticket_id, f"{ticket_id}/{ticket_id}"):
        assert (await ask(worker, create(asked))).headers["location"] == ticket_id


async def test_with_a_public_url_the_location_is_absolute(start_worker: StartWorker) -> None:
    worker = await start_worker("--public-url", "https://example.org/up/")
    ticket_id = await worker.ticket()
    location = (await ask(worker, create(ticket_id))).headers["location"]
    assert location == f"https://example.org/up/incoming/0.1/frontend/tus/{ticket_id}"


async def test_metadata_is_stored_in_the_ticket_and_returned(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    told = metadata(filename="ü.txt", filetype="text/plain", extra="1")
    await ask(worker, create(ticket_id, told))
    await ask(worker, create(ticket_id, metadata(filename="b.txt")))
    identity = (await look(worker, ticket_id)).identity
    assert (identity.name, identity.size, identity.media_type) == ("ü.txt", 100, "text/plain")
    answer = await head(worker, ticket_id)
    assert f"Upload-Metadata: {answer.headers['upload-metadata']}" == told


async def test_upload_expires_is_announced_until_the_file_is_complete(start_worker: StartWorker) -> None:
    worker = await start_worker("--idle-timeout", "1h", "--paused-timeout", "2h")
    ticket_id = await worker.ticket()
    answers = [await ask(worker, create(ticket_id)), await ask(worker, part(ticket_id, 0, 10))]
    answers.append(await head(worker, ticket_id))
    active = (await look(worker, ticket_id)).active_at
    for answer in answers:
        expires = parsedate_to_datetime(answer.headers["upload-expires"])
        assert abs(expires.timestamp() - active - timedelta(hours=1).total_seconds()) < 60
    await worker.services.upload_service.pause(ticket_id, None)
    paused = parsedate_to_datetime((await head(worker, ticket_id)).headers["upload-expires"])
    assert paused.timestamp() - active > timedelta(hours=1, minutes=59).total_seconds()
    assert "upload-expires" not in (await ask(worker, part(ticket_id, 10, 100))).headers


async def test_head_does_not_resume_a_paused_upload_and_patch_does(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    await half(worker, ticket_id)
    await worker.services.upload_service.pause(ticket_id, None)
    await head(worker, ticket_id)
    assert (await look(worker, ticket_id)).paused
    await ask(worker, part(ticket_id, 50, 60))
    assert not (await look(worker, ticket_id)).paused


async def test_delete_notifies_the_app_and_removes_the_bytes(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    await half(worker, ticket_id)
    assert (await ask(worker, tus("DELETE", ticket_id))).status == 204
    ticket = await reaches(worker, ticket_id, State.CANCELLED)
    assert ticket.callback is not None
    assert ticket.callback.cancelled
    assert ticket.extents == Extents()


async def test_a_page_may_ask_and_read(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    asks = ("Origin: https://a.org", "Access-Control-Request-Method: PATCH")
    wanted = "Access-Control-Request-Headers: tus-resumable,upload-offset,x-http-method-override"
    preflight = await ask(worker, request("OPTIONS", path("unknown"), *asks, wanted))
    assert preflight.status == 200
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == wanted.partition(": ")[2]
    for asked in (part("unknown", 0, 10, "Origin: https://a.org"), part(ticket_id, 5, 10, "Origin: https://a.org")):
        answer = await ask(worker, asked)
        assert answer.headers["access-control-allow-origin"] == "https://a.org"
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"Location", "Upload-Offset", "Upload-Length", "Tus-Resumable", "Upload-Expires"} <= set(exposed)
        assert "access-control-allow-credentials" not in answer.headers


async def test_an_unknown_method_is_answered_like_a_known_one(worker: OneWorker) -> None:
    answer = await ask(worker, request("BREW", path(await worker.ticket()), VERSION))
    assert (answer.status, answer.headers["tus-resumable"]) == (405, "1.0.0")
