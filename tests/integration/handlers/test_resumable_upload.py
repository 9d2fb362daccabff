"""The IETF's resumable uploads on a ticket's URL: every case of doc/resumable-upload.md, by every interop version."""

import asyncio
import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from incoming.core.ticket import State, Ticket
from incoming.wire.resumable_upload import INCONSISTENT_LENGTH, MISMATCHING_OFFSET
from tests.integration.handlers.conftest import StartWorker
from tests.support.draft_client import DraftClient
from tests.support.one_worker import OneWorker
from tests.support.raw_http import Answer, RawConnection, request
from tests.support.stores import until

VERSIONS = [*range(3, 11), 12, None]
CONTENT = bytes(range(256)) * 400

every_version = pytest.mark.parametrize("version", VERSIONS)


async def client(worker: OneWorker, version: int | None = 8, **given: str) -> DraftClient:
    return DraftClient(worker, await worker.ticket(**given), version)


async def ticket_of(sender: DraftClient) -> Ticket:
    return await sender.worker.services.upload_service.get_ticket(sender.ticket)


async def assert_arrived(sender: DraftClient, content: bytes) -> None:
    ticket = await ticket_of(sender)
    assert ticket.state == State.ARRIVED
    assert hashlib.sha256(Path(ticket.location.address).read_bytes()).digest() == hashlib.sha256(content).digest()


def assert_final(sender: DraftClient, answer: Answer, size: int) -> None:
    """The answer of a file that has arrived."""
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json; charset=utf-8"), answer
    assert (answer.json["id"], answer.json["state"], answer.json["size"]) == (sender.ticket, "arrived", size)
    assert sender.parse_complete(answer) is True
    assert answer.headers["upload-offset"] == str(size)


def problem(answer: Answer, status: int, name: str) -> Any:
    """The body of a refusal with this status and name of the error."""
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json"), answer
    told = answer.json
    assert (told["status"], told["name"]) == (status, name)
    assert {"type", "title", "detail", "code", "retry"} <= set(told)
    return told


# --- creation ---------------------------------------------------------------------------------------------------------


@every_version
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_an_empty_creation_returns_the_location(worker: OneWorker, method: str, version: int | None) -> None:
    sender = await client(worker, version)
    answer = await sender.ask(method, "Content-Disposition: attachment; filename=a.txt", complete=False)
    assert (answer.status, answer.headers["location"]) == (201, sender.ticket)
    assert (sender.parse_complete(answer), answer.headers["upload-offset"]) == (False, "0")
    limit = answer.headers.get("upload-limit")
    if version is not None and version <= 5:
        assert limit is None
    else:
        assert limit in (f"{'expires' if version == 6 else 'max-age'}={seconds}" for seconds in (43199, 43200))
    echoed = answer.headers.get("upload-draft-interop-version")
    assert echoed == (str(version) if version in range(3, 11) else None)
    ticket = await ticket_of(sender)
    assert (ticket.state, ticket.identity.name, ticket.size) == (State.UPLOADING, "a.txt", None)


@every_version
async def test_a_whole_file_fits_in_one_request(worker: OneWorker, version: int | None) -> None:
    sender = await client(worker, version)
    answer = await sender.ask("POST", "Content-Type: image/png", complete=True, body=CONTENT)
    assert_final(sender, answer, len(CONTENT))
    assert (await ticket_of(sender)).identity.media_type == "image/png"
    await assert_arrived(sender, CONTENT)
    again = await sender.ask("POST", complete=True, body=CONTENT)
    assert_final(sender, again, len(CONTENT))
    assert_final(sender, await sender.ask("POST", complete=False), len(CONTENT))


@every_version
async def test_an_empty_file_arrives(worker: OneWorker, version: int | None) -> None:
    sender = await client(worker, version)
    assert_final(sender, await sender.ask("PUT", complete=True), 0)
    await assert_arrived(sender, b"")


async def test_the_end_of_a_chunked_body_gives_the_size(worker: OneWorker) -> None:
    sender = await client(worker)
    assert_final(sender, await sender.ask("POST", complete=True, parts=(CONTENT[:1000], CONTENT[1000:])), len(CONTENT))
    await assert_arrived(sender, CONTENT)


@every_version
async def test_creation_with_a_part_and_again_skips_what_is_known(worker: OneWorker, version: int | None) -> None:
    sender = await client(worker, version)
    answer = await sender.ask("POST", complete=False, body=CONTENT[:1000])
    assert (answer.status, answer.headers["upload-offset"], sender.parse_complete(answer)) == (201, "1000", False)
    answer = await sender.ask("POST", complete=False, body=b"x" * 700 + CONTENT[700:1500])
    assert (answer.status, answer.headers["upload-offset"]) == (201, "1500")
    assert_final(sender, await sender.ask("POST", complete=True, body=CONTENT), len(CONTENT))
    await assert_arrived(sender, CONTENT)


@pytest.mark.parametrize("version", [6, 7, 8, 10, None])
async def test_the_size_is_recorded_at_creation(worker: OneWorker, version: int | None) -> None:
    sender = await client(worker, version)
    answer = await sender.ask("POST", "Upload-Length: 5", complete=False)
    assert (answer.status, (await ticket_of(sender)).size) == (201, 5)
    refused = await sender.ask("POST", "Upload-Length: 6", complete=False)
    assert problem(refused, 400, "file_changed")["type"] == INCONSISTENT_LENGTH
    refused = await sender.ask("POST", complete=True, body=b"1234")
    assert problem(refused, 400, "file_changed")["type"] == INCONSISTENT_LENGTH
    assert await sender.offset() == 0
    answer = await sender.ask("POST", "Upload-Length: 5", complete=False, body=b"12345")
    assert_final(sender, answer, 5)  # nothing else could follow


@pytest.mark.parametrize(("headers", "complete"), [(("Upload-Length: 5",), True), (("Upload-Length: 3",), False)])
async def test_impossible_lengths_are_refused(worker: OneWorker, headers: tuple[str, ...], complete: bool) -> None:
    sender = await client(worker)
    refused = await sender.ask("POST", *headers, complete=complete, body=b"1234")
    problem(refused, 400, "file_changed" if complete else "bad_range")
    assert ((await ticket_of(sender)).state, (await ticket_of(sender)).size) == (State.NEW, None)


async def test_a_chunked_body_that_is_shorter_than_its_length_is_kept_and_refused(worker: OneWorker) -> None:
    sender = await client(worker)
    refused = await sender.ask("POST", "Upload-Length: 10", complete=True, parts=(b"1234",))
    assert problem(refused, 400, "file_changed")["type"] == INCONSISTENT_LENGTH
    assert await sender.offset() == 4


@pytest.mark.parametrize("version", [3, 4, 5])
async def test_early_versions_work_without_a_length(worker: OneWorker, version: int) -> None:
    sender = await client(worker, version)
    assert (await sender.ask("POST", "Upload-Length: 5", complete=False)).status == 201
    assert (await ticket_of(sender)).size is None


async def test_a_file_that_is_too_large_is_refused(start_worker: StartWorker) -> None:
    worker = await start_worker("--max-size", "100")
    sender = await client(worker, maxSize="50")
    for headers, body in ((("Upload-Length: 51",), b""), ((), b"x" * 51)):
        refused = await sender.ask("POST", *headers, complete=False, body=body)
        problem(refused, 413, "file_too_large")
        assert refused.headers["upload-limit"].startswith("max-size=50, max-age=")
    assert (await ticket_of(sender)).state == State.NEW
    assert (await sender.ask("POST", complete=False, body=b"x" * 40)).status == 201
    refused = await sender.ask("PATCH", complete=False, offset=40, parts=(b"x" * 11,))
    problem(refused, 413, "file_too_large")
    assert await sender.offset() == 40


async def test_the_name_is_recorded_and_checked_against_the_ticket(worker: OneWorker) -> None:
    sender = await client(worker, allowedTypes=".pdf")
    refused = await sender.ask("POST", "Content-Disposition: form-data; filename=a.txt", complete=False)
    problem(refused, 415, "file_type_refused")
    asked = DraftClient(worker, f"{sender.ticket}?filename=a.pdf", 8)
    assert (await asked.ask("POST", complete=False)).status == 201
    assert (await ticket_of(sender)).identity.name == "a.pdf"


async def test_a_body_that_is_cut_is_kept(worker: OneWorker) -> None:
    sender = await client(worker)
    connection = await RawConnection.open(worker.port)
    await connection.send(sender.message("POST", complete=True, body=CONTENT[:5000], length=len(CONTENT)))
    await until(lambda: worker.services.upload_service.uploads() != [], "the upload being open")
    connection.close()
    await until(lambda: worker.services.upload_service.uploads() == [], "the body being given up")
    assert await sender.offset() == 5000
    assert_final(sender, await sender.ask("PATCH", complete=True, offset=5000, body=CONTENT[5000:]), len(CONTENT))
    await assert_arrived(sender, CONTENT)


async def test_forms_and_compressed_bodies_are_refused(worker: OneWorker) -> None:
    sender = await client(worker)
    for header in ("Content-Type: multipart/form-data; boundary=x", "Content-Encoding: gzip"):
        refused = await sender.ask("POST", header, complete=True, body=b"abc")
        assert refused.status == 415
    refused = await sender.ask("PATCH", "Content-Encoding: gzip", complete=True, offset=0, body=b"abc")
    problem(refused, 415, "unsupported_encoding")


@pytest.mark.parametrize("value", ["1", "?2", "true", "?1, ?1"])
async def test_without_a_well_formed_complete_a_put_is_an_ordinary_one(worker: OneWorker, value: str) -> None:
    sender = await client(worker)
    answer = await sender.ask("PUT", f"Upload-Complete: {value}", "Content-Range: bytes 0-2/9", body=b"abc")
    assert (answer.status, answer.headers["range"]) == (308, "bytes=0-2")
    assert "upload-offset" not in answer.headers
    refused = await sender.ask("POST", f"Upload-Complete: {value}", body=b"abc")
    assert (refused.status, refused.headers["content-type"]) == (400, "text/plain; charset=utf-8")


# --- append -----------------------------------------------------------------------------------------------------------


@every_version
async def test_appends_make_the_file(worker: OneWorker, version: int | None) -> None:
    sender = await client(worker, version)
    assert (await sender.ask("POST", complete=False)).status == 201
    for start, end in ((0, 1000), (1000, 1001), (1001, 60000)):
        answer = await sender.ask("PATCH", complete=False, offset=start, body=CONTENT[start:end])
        assert answer.status == (201 if sender.is_old else 204)
        assert (answer.headers["upload-offset"], sender.parse_complete(answer)) == (str(end), False)
        assert ("upload-limit" in answer.headers) == (version is None or version >= 6)
    answer = await sender.ask("PATCH", complete=True, offset=60000, body=CONTENT[60000:])
    assert_final(sender, answer, len(CONTENT))
    await assert_arrived(sender, CONTENT)


async def test_a_stream_of_unknown_length_is_ended_by_an_empty_append(worker: OneWorker) -> None:
    sender = await client(worker)
    answer = await sender.ask("PATCH", complete=False, offset=0, parts=(CONTENT[:500], CONTENT[500:]))
    assert (answer.status, answer.headers["upload-offset"]) == (204, str(len(CONTENT)))
    assert_final(sender, await sender.ask("PATCH", complete=True, offset=len(CONTENT)), len(CONTENT))
    await assert_arrived(sender, CONTENT)


async def test_the_last_byte_of_a_known_size_completes_the_file(worker: OneWorker) -> None:
    sender = await client(worker, fileSize="6")
    assert (await sender.ask("PATCH", complete=False, offset=0, body=b"123")).status == 204
    assert_final(sender, await sender.ask("PATCH", complete=False, offset=3, body=b"456"), 6)


@every_version
async def test_a_wrong_offset_gets_the_right_one(worker: OneWorker, version: int | None) -> None:
    sender = await client(worker, version)
    await sender.ask("POST", complete=False, body=b"12345")
    for offset in (0, 4, 6, 2**53 - 1):
        refused = await sender.ask("PATCH", complete=False, offset=offset, body=b"x")
        told = problem(refused, 409, "offset_mismatch")
        assert (told["type"], told["expected-offset"], told["provided-offset"]) == (MISMATCHING_OFFSET, 5, offset)
        assert refused.headers["upload-offset"] == "5"
        is_told = version is None or version >= 7
        assert sender.parse_complete(refused) is (False if is_told else None)
    refused = await sender.ask("PATCH", complete=True, offset=6, body=b"x")
    problem(refused, 409, "offset_mismatch")
    assert ((await ticket_of(sender)).extents.size, (await ticket_of(sender)).size) == (5, None)


@every_version
async def test_an_append_needs_its_headers(worker: OneWorker, version: int | None) -> None:
    sender = await client(worker, version)
    for headers in ((), ("Upload-Offset: -1",), ("Upload-Offset: x",), ("Upload-Offset: 9007199254740992",)):
        problem(await sender.ask("PATCH", *headers, complete=False, body=b"x"), 400, "bad_request")
    answer = await sender.ask("PATCH", "Content-Type: text/plain", complete=False, offset=0, body=b"x")
    if version is not None and version < 6:
        assert (answer.status, answer.headers["upload-offset"]) == (201, "1")
    else:
        problem(answer, 415, "unsupported_media_type")
    start = await sender.offset()
    answer = await sender.ask("PATCH", offset=start, body=b"abc")
    if sender.is_old:
        assert_final(sender, answer, start + 3)
    else:
        problem(answer, 400, "bad_request")


async def test_a_length_that_contradicts_the_end_is_refused(worker: OneWorker) -> None:
    sender = await client(worker, fileSize="10")
    for headers, complete, body in (((), True, b"123"), (("Upload-Length: 9",), False, b"1"), ((), True, b"")):
        refused = await sender.ask("PATCH", *headers, complete=complete, offset=0, body=body)
        assert problem(refused, 400, "file_changed")["type"] == INCONSISTENT_LENGTH
    assert await sender.offset() == 0


async def test_nothing_beyond_the_size_is_stored_and_the_upload_stays_usable(worker: OneWorker) -> None:
    sender = await client(worker, fileSize="6")
    problem(await sender.ask("PATCH", complete=False, offset=0, body=b"1234567"), 400, "bad_range")
    assert await sender.offset() == 0
    problem(await sender.ask("PATCH", complete=False, offset=0, parts=(b"123", b"4567")), 400, "bad_range")
    assert await sender.offset() == 6
    assert_final(sender, await sender.ask("PATCH", complete=True, offset=6), 6)
    await assert_arrived(sender, b"123456")


@every_version
async def test_an_append_to_a_complete_file_changes_nothing(worker: OneWorker, version: int | None) -> None:
    sender = await client(worker, version)
    assert_final(sender, await sender.ask("POST", complete=True, body=b"123456"), 6)
    assert_final(sender, await sender.ask("PATCH", complete=True, offset=6), 6)
    for offset, body in ((6, b"7"), (3, b"456"), (0, b""), (7, b"")):
        refused = await sender.ask("PATCH", complete=True, offset=offset, body=body)
        assert problem(refused, 409, "offset_mismatch")["expected-offset"] == 6
        assert refused.headers["upload-offset"] == "6"
    await assert_arrived(sender, b"123456")


async def test_bytes_that_are_there_already_are_skipped_and_the_offset_jumps(worker: OneWorker) -> None:
    sender = await client(worker)
    await worker.fetch("PUT", sender.path, b"789", {"Content-Range": "bytes 6-8/12"})
    assert await sender.offset() == 0
    answer = await sender.ask("PATCH", complete=False, offset=0, body=b"123456")
    assert (answer.status, answer.headers["upload-offset"]) == (204, "9")
    assert_final(sender, await sender.ask("PATCH", complete=True, offset=9, body=b"abc"), 12)
    await assert_arrived(sender, b"123456789abc")


def digest(body: bytes) -> str:
    return f"Content-Digest: sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


@pytest.mark.parametrize("parts", [1, 3])
async def test_a_body_with_the_right_digest_is_stored(worker: OneWorker, parts: int) -> None:
    sender = await client(worker)
    assert (await sender.ask("POST", digest(CONTENT[:70_000]), complete=False, body=CONTENT[:70_000])).status == 201
    rest = CONTENT[70_000:]
    pieces = tuple(rest[start::parts] for start in range(parts)) if parts == 1 else (rest[:9], rest[9:80], rest[80:])
    answer = await sender.ask("PATCH", digest(rest), complete=True, offset=70_000, parts=pieces)
    assert_final(sender, answer, len(CONTENT))
    await assert_arrived(sender, CONTENT)


async def test_nothing_of_a_body_with_another_digest_counts(worker: OneWorker) -> None:
    sender = await client(worker)
    problem(await sender.ask("POST", digest(b"other"), complete=False, body=CONTENT), 400, "checksum_mismatch")
    problem(await sender.ask("POST", digest(b"other"), complete=False), 400, "checksum_mismatch")
    assert await sender.offset() == 0
    refused = await sender.ask("PATCH", digest(b"other"), complete=False, offset=0, body=CONTENT[:9])
    problem(refused, 400, "checksum_mismatch")
    problem(await sender.ask("PATCH", "Content-Digest: x", complete=False, offset=0, body=b"x"), 400, "bad_request")
    assert await sender.offset() == 0
    answer = await sender.ask("PATCH", digest(CONTENT), complete=True, offset=0, body=CONTENT)
    assert_final(sender, answer, len(CONTENT))
    await assert_arrived(sender, CONTENT)


# --- HEAD, GET, DELETE, OPTIONS ---------------------------------------------------------------------------------------


@every_version
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_a_head_request_returns_offset_and_state(worker: OneWorker, method: str, version: int | None) -> None:
    sender = await client(worker, version)
    if method == "GET" and version is None:
        return  # an ordinary request, as ever
    await sender.ask("POST", "Upload-Length: 9", complete=False, body=b"12345")
    answer = await sender.ask(method)
    assert answer.status == (204 if method == "HEAD" else 200)
    assert (answer.headers["upload-offset"], answer.headers["cache-control"]) == ("5", "no-store")
    assert sender.parse_complete(answer) is False
    is_early = version is not None and version <= 5
    assert answer.headers.get("upload-length") == (None if is_early else "9")
    assert ("upload-limit" in answer.headers) == (not is_early)
    assert method == "HEAD" or answer.json["arrived"] == 5
    rest = await sender.ask("PATCH", complete=True, offset=5, body=b"6789")
    assert_final(sender, rest, 9)
    answer = await sender.ask(method)
    assert (answer.headers["upload-offset"], sender.parse_complete(answer)) == ("9", True)


async def test_a_head_that_names_a_version_takes_the_upload_over(worker: OneWorker) -> None:
    sender = await client(worker)
    await sender.ask("POST", complete=False)
    before = await ticket_of(sender)
    await DraftClient(worker, sender.ticket).ask("HEAD")
    assert (await ticket_of(sender)).epoch == before.epoch
    await sender.ask("HEAD")
    after = await ticket_of(sender)
    assert after.epoch == before.epoch + 1
    assert (after.state, after.active_at, after.paused) == (before.state, before.active_at, before.paused)


async def test_a_head_request_ends_an_append_in_progress(worker: OneWorker) -> None:
    sender = await client(worker)
    connection = await RawConnection.open(worker.port)
    await connection.send(sender.message("POST", complete=True, body=CONTENT[:5000], length=len(CONTENT)))
    await until(lambda: worker.services.upload_service.uploads() != [], "the upload being open")
    await asyncio.sleep(0)
    offset = await sender.offset()
    refused = await connection.answer()
    problem(refused, 403, "taken_over")
    assert await connection.is_closed()
    connection.close()
    answer = await sender.ask("PATCH", complete=True, offset=offset, body=CONTENT[offset:])
    assert_final(sender, answer, len(CONTENT))
    await assert_arrived(sender, CONTENT)


@every_version
async def test_a_head_request_with_the_fields_of_an_append_changes_nothing(
    worker: OneWorker, version: int | None
) -> None:
    sender = await client(worker, version)
    await sender.ask("POST", complete=False)
    answers = [
        await sender.ask("HEAD", offset=0),
        await sender.ask("HEAD", complete=True),
        *([] if version is None else [await sender.ask("DELETE", offset=0)]),
    ]
    if sender.is_old:
        assert {answer.status for answer in answers} == {400}
        assert (await ticket_of(sender)).state == State.UPLOADING
    else:
        assert {answer.status for answer in answers} == {204}


@pytest.mark.parametrize("version", [3, 6, 8, 10, 12])
async def test_delete_cancels(worker: OneWorker, version: int) -> None:
    sender = await client(worker, version)
    await sender.ask("POST", complete=False, body=b"12345")
    assert (await sender.ask("DELETE")).status == 204
    assert (await sender.ask("DELETE")).status == 204
    assert (await ticket_of(sender)).state == State.CANCELLED
    assert (await sender.ask("HEAD")).status == 410
    for method, more in (("GET", {}), ("POST", {"complete": False}), ("PATCH", {"complete": True, "offset": 5})):
        problem(await sender.ask(method, **more), 410, "upload_cancelled")


async def test_cancelling_a_complete_file_is_refused(worker: OneWorker) -> None:
    sender = await client(worker)
    await sender.ask("POST", complete=True, body=b"12345")
    problem(await sender.ask("DELETE"), 403, "wrong_state")
    await assert_arrived(sender, b"12345")


async def test_delete_without_a_version_cancels_as_before(worker: OneWorker) -> None:
    sender = await client(worker, None)
    answer = await sender.ask("DELETE")
    assert (answer.status, answer.json["state"]) == (200, "cancelled")


async def test_an_unknown_ticket_is_refused(worker: OneWorker) -> None:
    sender = DraftClient(worker, "00000000-0000-4000-8000-000000000000", 8)
    assert (await sender.ask("HEAD")).status == 404
    for method, more in (("GET", {}), ("DELETE", {}), ("POST", {"complete": True}), ("PATCH", {"complete": True})):
        problem(await sender.ask(method, offset=0, **more), 404, "unknown_ticket")


@every_version
async def test_options_announces_the_limits(start_worker: StartWorker, version: int | None) -> None:
    worker = await start_worker("--max-size", "1000", "--max-append-size", "500")
    sender = DraftClient(worker, "any", version)
    answer = await sender.ask("OPTIONS")
    assert answer.status == (204 if version is None else 200)
    is_early = version is not None and version <= 5
    assert answer.headers.get("upload-limit") == (None if is_early else "max-size=1000, max-append-size=500")
    assert answer.headers["allow"] == "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS"


async def test_options_without_limits_announces_min_size_0(worker: OneWorker) -> None:
    answer = await DraftClient(worker, "any", 8).ask("OPTIONS")
    assert (answer.status, answer.headers["upload-limit"], answer.body) == (200, "min-size=0", b"")


# --- pages of other hosts, and what stays as it was -------------------------------------------------------------------


async def test_pages_may_read_everything(worker: OneWorker) -> None:
    sender = await client(worker)
    origin = "Origin: https://page.example.org"
    preflight = await sender.ask("OPTIONS", origin, "Access-Control-Request-Method: PATCH")
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    answers = [
        await sender.ask("POST", origin, complete=False),
        await sender.ask("PATCH", origin, complete=False, offset=7),
        await DraftClient(worker, "unknown", 8).ask("HEAD", origin),
    ]
    assert [answer.status for answer in answers] == [201, 409, 404]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "https://page.example.org"
        assert "Upload-Offset" in answer.headers["access-control-expose-headers"]


async def test_a_page_of_another_origin_is_refused(start_worker: StartWorker) -> None:
    worker = await start_worker("--allowed-origins", "https://app.example.org")
    sender = await client(worker)
    problem(await sender.ask("POST", "Origin: https://evil.example.org", complete=False), 403, "forbidden")


async def test_other_methods_are_refused_with_all_that_there_are(worker: OneWorker) -> None:
    sender = await client(worker)
    connection = await RawConnection.open(worker.port)
    answer = await connection.ask(request("TRACE", sender.path))
    connection.close()
    assert answer.status == 405


@pytest.mark.parametrize("order", range(6))
async def test_one_file_can_be_sent_by_all_dialects(worker: OneWorker, order: int) -> None:
    """Each goes on where another stopped."""
    sender = await client(worker, [3, 5, 6, 8, 10, None][order])
    size = len(CONTENT)
    position = 0
    while position < size:
        end = min(size, position + 9000)
        step = (position // 9000 + order) % 3
        if step == 0:
            headers = {"Content-Range": f"bytes {position}-{end - 1}/{size}"}
            assert (await worker.fetch("PUT", sender.path, CONTENT[position:end], headers)).code in (200, 308)
        elif step == 1:
            answer = await sender.ask("PATCH", complete=end == size, offset=position, body=CONTENT[position:end])
            assert answer.status in (200, 201, 204), answer
        else:
            answer = await sender.ask("POST", complete=end == size, body=CONTENT[:end])
            assert answer.status in (200, 201), answer
        position = end
    await assert_arrived(sender, CONTENT)


async def test_the_status_of_a_draft_request_is_the_same_json(worker: OneWorker) -> None:
    sender = await client(worker)
    await sender.ask("POST", complete=False, body=b"12345")
    plain = await worker.fetch("GET", sender.path)
    assert (await sender.ask("GET")).json == json.loads(plain.body)
