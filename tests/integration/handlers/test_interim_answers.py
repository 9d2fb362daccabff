"""104 (Upload Resumption Supported) on the wire: who gets it, what it says, and that nobody else ever sees one."""

import pytest

from incoming.handlers.upload.offset_protocols import interim_answers
from tests.integration.handlers.conftest import StartWorker, files
from tests.support.draft_client import DraftClient
from tests.support.one_worker import OneWorker
from tests.support.raw_http import Answer, RawConnection
from tests.support.stores import until

KNOWN = range(3, 11)
CONTENT = bytes(range(256)) * 40


async def client(worker: OneWorker, version: int | None = 8) -> DraftClient:
    return DraftClient(worker, await worker.ticket(), version)


async def interim_of(sender: DraftClient, *headers: str, message: bytes | None = None) -> list[Answer]:
    """The interim answers before the one to a whole file in one request."""
    connection = await RawConnection.open(sender.worker.port)
    answer = await connection.ask(message or sender.message("POST", *headers, complete=True, body=CONTENT))
    connection.close()
    assert answer.status == 200, answer
    return connection.interim


@pytest.mark.parametrize("version", KNOWN)
async def test_the_first_interim_answer_has_the_location(worker: OneWorker, version: int) -> None:
    sender = await client(worker, version)
    [interim] = await interim_of(sender)
    assert (interim.status, interim.reason) == (104, "Upload Resumption Supported")
    assert interim.headers["upload-draft-interop-version"] == str(version)
    assert interim.headers["location"] == sender.ticket
    key = "expires" if version == 6 else "max-age"
    assert interim.headers.get("upload-limit", "").startswith("" if version < 6 else f"{key}=")
    assert ("upload-limit" in interim.headers) == (version >= 6)
    assert "upload-offset" not in interim.headers


@pytest.mark.parametrize("version", [None, 2, 11, 99])
async def test_clients_that_name_no_known_version_get_none(worker: OneWorker, version: int | None) -> None:
    assert await interim_of(await client(worker, version)) == []


async def test_clients_of_http_1_0_get_none(worker: OneWorker) -> None:
    sender = await client(worker)
    message = sender.message("POST", complete=True, body=CONTENT).replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
    assert await interim_of(sender, message=message) == []


@pytest.mark.parametrize(
    "header",
    [
        *("Via: 1.1 proxy", "Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"),
        *("X-Real-IP: 192.0.2.1", "X-Forwarded-Anything: x", "CF-Connecting-IP: 192.0.2.1"),
    ],
)
async def test_none_is_sent_through_a_proxy(worker: OneWorker, header: str) -> None:
    assert await interim_of(await client(worker), header) == []


@pytest.mark.parametrize(("option", "headers", "count"), [("true", ("Via: 1.1 proxy",), 1), ("false", (), 0)])
async def test_the_operator_can_force_or_forbid_them(
    start_worker: StartWorker, option: str, headers: tuple[str, ...], count: int
) -> None:
    worker = await start_worker("--interim-answers", option)
    assert len(await interim_of(await client(worker), *headers)) == count


async def test_the_location_is_the_one_of_the_answer(start_worker: StartWorker) -> None:
    worker = await start_worker("--public-url", "https://uploads.example.org/x/")
    sender = await client(worker)
    connection = await RawConnection.open(worker.port)
    answer = await connection.ask(sender.message("POST", complete=False, body=CONTENT))
    connection.close()
    location = f"https://uploads.example.org/x/incoming/0.1/frontend/upload/{sender.ticket}"
    assert [answer.headers["location"], connection.interim[0].headers["location"]] == [location, location]


async def test_a_refused_request_gets_none(worker: OneWorker) -> None:
    sender = await client(worker)
    connection = await RawConnection.open(worker.port)
    answer = await connection.ask(sender.message("POST", "Upload-Length: 5", complete=True, body=CONTENT))
    assert (answer.status, connection.interim) == (400, [])
    answer = await connection.ask(sender.message("PATCH", complete=False, offset=5, body=b"x"))
    assert (answer.status, connection.interim) == (409, [])
    connection.close()


async def test_the_connection_stays_in_step(worker: OneWorker) -> None:
    """Each request gets its own answer, also behind an interim one."""
    connection = await RawConnection.open(worker.port)
    for number in range(3):
        sender = await client(worker)
        answer = await connection.ask(sender.message("POST", complete=True, body=CONTENT + b"%d" % number))
        assert (answer.json["id"], len(connection.interim)) == (sender.ticket, 1)
        plain = await connection.ask((await client(worker, None)).message("GET"))
        assert (plain.json["state"], connection.interim) == ("new", [])
    connection.close()


async def test_100_continue_is_still_sent(worker: OneWorker) -> None:
    sender = await client(worker)
    connection = await RawConnection.open(worker.port)
    message = sender.message("POST", "Expect: 100-continue", complete=True, body=CONTENT)
    await connection.send(message[: -len(CONTENT)])
    assert [(await connection.head()).status, (await connection.head()).status] == [104, 100]
    assert (await connection.ask(CONTENT)).status == 200
    connection.close()


@pytest.mark.parametrize("version", KNOWN)
async def test_progress_counts_only_committed_bytes(
    worker: OneWorker, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interim_answers, "INTERIM_INTERVAL", 0.0)
    sender = await client(worker, version)
    connection = await RawConnection.open(worker.port)
    await connection.send(sender.message("POST", complete=True, body=CONTENT[:1000], length=len(CONTENT)))
    assert "location" in (await connection.head()).headers
    if version >= 5:
        progress = await connection.head()
        assert (progress.status, progress.headers["upload-offset"]) == (104, "1000")
        assert progress.headers["upload-draft-interop-version"] == str(version)
        assert "location" not in progress.headers
    answer = await connection.ask(CONTENT[1000:])
    assert answer.status == 200
    assert all(int(interim.headers["upload-offset"]) > 1000 for interim in connection.interim)
    assert version >= 5 or connection.interim == []
    connection.close()


async def test_an_append_reports_its_progress(worker: OneWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interim_answers, "INTERIM_INTERVAL", 0.0)
    sender = await client(worker)
    connection = await RawConnection.open(worker.port)
    await connection.send(sender.message("PATCH", complete=True, offset=0, body=CONTENT[:1000], length=len(CONTENT)))
    assert (await connection.head()).headers["upload-offset"] == "1000"
    assert (await connection.ask(CONTENT[1000:])).status == 200
    connection.close()


async def test_nothing_is_reported_after_the_final_answer(worker: OneWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interim_answers, "INTERIM_INTERVAL", 0.0)
    sender = DraftClient(worker, await worker.ticket(fileSize="6"), 8)
    files(worker).faults.hold("write")
    connection = await RawConnection.open(worker.port)
    answer = await connection.ask(sender.message("PATCH", complete=False, offset=0, parts=(b"123", b"4567")))
    assert (answer.status, connection.interim) == (400, [])
    await files(worker).faults.until_held("write")
    files(worker).faults.release("write")
    assert await sender.offset() == 6
    answer = await connection.ask((await client(worker, None)).message("GET"))
    assert (answer.status, answer.json["state"], connection.interim) == (200, "new", [])
    connection.close()


@pytest.mark.parametrize(("option", "is_closed"), [("auto", True), ("false", False)])
async def test_a_worker_that_drains_closes_the_connection_after_a_104(
    start_worker: StartWorker, option: str, is_closed: bool
) -> None:
    """iOS resumes after a broken connection, not after a 503."""
    worker = await start_worker("--interim-answers", option)
    sender = await client(worker)
    connection = await RawConnection.open(worker.port)
    await connection.send(sender.message("POST", complete=True, body=CONTENT[:1000], length=len(CONTENT)))
    await until(lambda: worker.services.upload_service.uploads() != [], "the upload being open")
    if is_closed:
        assert (await connection.head()).status == 104
    await worker.services.upload_service.drain()
    if is_closed:
        assert await connection.is_closed()
    else:
        assert (await connection.answer()).status == 503
    connection.close()
