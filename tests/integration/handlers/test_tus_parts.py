"""Parallel parts of tus: parts below a ticket, sent at once, put into any order."""

import asyncio
import hashlib
import itertools

import pytest

from incoming.core.errors import StorageFailed, StorageFull
from incoming.core.ticket import State
from incoming.maintenance.recovery import recover
from incoming.storage.filesystem.store import FileStore
from tests.integration.handlers.conftest import StartWorker, files, look, reaches, stored
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT, ask
from tests.support.put_requests import piece as put_piece
from tests.support.raw_http import Answer, RawConnection
from tests.support.raw_websocket import RawWebSocket, hello
from tests.support.stores import until
from tests.support.tus_requests import STREAM, checksum, create, head, metadata, offset, part, patch, tus

PARTIAL = "Upload-Concat: partial"


async def add(worker: OneWorker, ticket_id: str, length: int) -> str:
    """A part's path below `.../frontend/tus/`."""
    answer = await ask(worker, create(ticket_id, PARTIAL, size=length))
    assert (answer.status, answer.headers["upload-offset"]) == (201, "0"), answer
    return answer.headers["location"]


async def sent(worker: OneWorker, ticket_id: str, *cuts: int) -> list[str]:
    """CONTENT in parts, which are created in their order and sent at once."""
    bounds = [0, *cuts, len(CONTENT)]
    spans = list(itertools.pairwise(bounds))
    names = [await add(worker, ticket_id, end - start) for start, end in spans]
    bodies = [CONTENT[start:end] for start, end in spans]
    answers = await asyncio.gather(
        *(ask(worker, patch(name, 0, body)) for name, body in zip(names, bodies, strict=True))
    )
    assert [answer.status for answer in answers] == [204] * len(names)
    return names


def final(ticket_id: str, *names: str) -> bytes:
    return create(ticket_id, f"Upload-Concat: final;{' '.join(names)}", metadata(filename="a.txt"), size=None)


async def test_parts_in_their_order_make_the_file_without_a_copy(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    names = await sent(worker, ticket_id, 30, 60)
    assert names == [f"{ticket_id}/0-30", f"{ticket_id}/30-60", f"{ticket_id}/60-100"]
    answer = await ask(worker, final(ticket_id, *names))
    assert (answer.status, answer.headers["location"], answer.headers["upload-offset"]) == (201, ticket_id, "100")
    ticket = await reaches(worker, ticket_id, State.ARRIVED)
    assert stored(worker, ticket) == CONTENT
    assert (ticket.identity.name, ticket.size) == ("a.txt", 100)
    assert files(worker).faults.calls["join"] == 0


async def test_parts_in_another_order_are_put_into_theirs(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    last, first = await add(worker, ticket_id, 40), await add(worker, ticket_id, 60)
    await ask(worker, patch(last, 0, CONTENT[60:]))
    await ask(worker, patch(first, 0, CONTENT[:60]))
    answer = await ask(worker, final(ticket_id, first, last))
    assert (answer.status, answer.headers["upload-offset"]) == (201, "100")
    assert files(worker).faults.calls["join"] == 1
    ticket = await reaches(worker, ticket_id, State.ARRIVED)
    assert stored(worker, ticket) == CONTENT
    assert [path.name for path in worker.services.settings.storage_dir.glob(f"??/{ticket_id}*")] == [ticket_id]


async def test_a_part_that_was_created_twice_is_left_out(worker: OneWorker) -> None:
    """The client has lost the answer to the first POST."""
    ticket_id = await worker.ticket()
    await add(worker, ticket_id, 50)
    names = [await add(worker, ticket_id, 50), await add(worker, ticket_id, 50)]
    for start, name in zip((0, 50), names, strict=True):
        await ask(worker, patch(name, 0, CONTENT[start : start + 50]))
    assert (await ask(worker, final(ticket_id, *names))).status == 201
    assert stored(worker, await reaches(worker, ticket_id, State.ARRIVED)) == CONTENT


async def test_urls_are_compared_by_their_last_two_segments(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    names = await sent(worker, ticket_id, 50)
    urls = f"https://example.org/up/frontend/tus/{names[0]} ../{ticket_id.upper()}/50-100?x=y"
    assert (await ask(worker, final(ticket_id, urls))).status == 201


@pytest.mark.parametrize("reverse", [False, True])
async def test_the_digest_is_that_of_the_parts_in_their_order(worker: OneWorker, reverse: bool) -> None:
    ticket_id = await worker.ticket(digest="sha-256")
    places = [(CONTENT[:60], 60), (CONTENT[60:], 40)]
    names = [(await add(worker, ticket_id, length), body) for body, length in places[:: -1 if reverse else 1]]
    for name, body in names:
        await ask(worker, patch(name, 0, body))
    ordered = [name for name, _ in names[:: -1 if reverse else 1]]
    assert (await ask(worker, final(ticket_id, *ordered))).status == 201
    ticket = await reaches(worker, ticket_id, State.ARRIVED)
    assert ticket.digest == hashlib.sha256(CONTENT).hexdigest()


async def test_the_final_upload_lists_its_parts(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    names = await sent(worker, ticket_id, 50)
    for name in names:
        answer = await head(worker, name)
        told = (answer.headers["upload-concat"], answer.headers["upload-length"], answer.headers["upload-offset"])
        assert told == ("partial", "50", "50")
    await ask(worker, final(ticket_id, *names))
    answer = await head(worker, ticket_id)
    assert answer.headers["upload-concat"] == f"final;{' '.join(names)}"
    assert (answer.headers["upload-length"], answer.headers["upload-offset"]) == ("100", "100")
    assert (await ask(worker, patch(ticket_id, 0, b"x"))).status == 403
    assert (await ask(worker, patch(names[0], 50, b""))).status == 204
    assert (await ask(worker, create(ticket_id, PARTIAL, size=1))).status == 403
    assert (await ask(worker, final(ticket_id, *names))).status == 201
    assert (await ask(worker, final(ticket_id, names[0]))).status == 403


@pytest.mark.parametrize(
    "concat",
    [
        "final;", "final", "partial;x", "other", "final;{ticket}", "final;{ticket}/0-49", "final;{ticket}/50-100",
        "final;other/0-50", "final;{ticket}/0-50 {ticket}/x-y",
    ],
)  # fmt: skip
async def test_a_final_upload_of_what_is_not_there_is_refused(worker: OneWorker, concat: str) -> None:
    """The second part is not complete."""
    ticket_id = await worker.ticket()
    first, second = await add(worker, ticket_id, 50), await add(worker, ticket_id, 50)
    await ask(worker, patch(first, 0, CONTENT[:50]))
    await ask(worker, patch(second, 0, CONTENT[50:60]))
    asked = create(ticket_id, f"Upload-Concat: {concat.format(ticket=ticket_id)}", size=None)
    assert (await ask(worker, asked)).status == 400
    asked = create(ticket_id, f"Upload-Concat: final;{first}", size=50)
    assert (await ask(worker, asked)).status == 400, "its length is not told"
    assert (await look(worker, ticket_id)).state == State.UPLOADING


async def test_a_part_is_an_upload_of_its_own(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    await add(worker, ticket_id, 20)
    name = await add(worker, ticket_id, 50)
    for asked, status in (
        (part(name, 10, 20), 409),
        (patch(name, 0, bytes(51)), 413),
        (patch(name, 0, CONTENT[:10], checksum(b"")), 460),
        (patch(name, 0, CONTENT[:10], checksum(CONTENT[:10])), 204),
        (patch(name, 10, CONTENT[10:20], "Upload-Length: 50"), 204),
        (patch(name, 20, b"", "Upload-Length: 51"), 403),
        (tus("PATCH", name, "Upload-Offset: 20", body=b"x"), 415),
        (tus("HEAD", f"{ticket_id}/0-1"), 404),
        (tus("POST", name, "Upload-Length: 1"), 403),
    ):
        assert (await ask_quietly(worker, asked)).status == status
    assert await offset(worker, name) == 20
    assert (await ask(worker, create(ticket_id, PARTIAL, STREAM, size=5, body=b"12345"))).headers[
        "upload-offset"
    ] == "5"
    for asked in (create(ticket_id, PARTIAL, size=None), create(ticket_id, PARTIAL, STREAM, size=1, body=b"12")):
        assert (await ask(worker, asked)).status in (400, 413)


async def ask_quietly(worker: OneWorker, asked: bytes) -> Answer:
    """The answer to HEAD has a length and no body."""
    if not asked.startswith(b"HEAD"):
        return await ask(worker, asked)
    connection = await RawConnection.open(worker.port)
    await connection.send(asked)
    line = await connection.reader.readline()
    connection.close()
    return Answer(int(line.split()[1]), "", {}, b"")


async def test_an_upload_in_parts_is_sent_in_no_other_way(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    name = await add(worker, ticket_id, 50)
    for asked in (part(ticket_id, 0, 10), create(ticket_id), put_piece(ticket_id, 0, 10)):
        assert (await ask(worker, asked)).status == 400
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(100))
    assert (await socket.hear("error"))["code"] == 100
    socket.close()
    assert (await head(worker, ticket_id)).headers["upload-offset"] == "0"
    assert (await ask(worker, patch(name, 0, CONTENT[:50]))).status == 204


async def test_what_has_bytes_takes_no_parts(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    await ask(worker, part(ticket_id, 0, 10))
    assert (await ask(worker, create(ticket_id, PARTIAL, size=5))).status == 400


async def test_only_the_same_part_is_taken_over(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    names = [await add(worker, ticket_id, 50), await add(worker, ticket_id, 50)]
    connections = []
    for start, name in zip((0, 50), names, strict=True):
        connections.append(connection := await RawConnection.open(worker.port))
        await connection.send(patch(name, 0, CONTENT[start : start + 20], length=50))

    async def have_come() -> bool:
        return (await look(worker, ticket_id)).extents.size == 40

    await until(have_come, "the first bytes of both")
    assert await offset(worker, names[0]) == 20
    assert (await connections[0].answer()).status == 403
    await connections[1].send(CONTENT[70:])
    assert (await connections[1].answer()).status == 204
    assert (await ask(worker, patch(names[0], 20, CONTENT[20:50]))).status == 204
    assert (await ask(worker, final(ticket_id, *names))).status == 201
    assert stored(worker, await reaches(worker, ticket_id, State.ARRIVED)) == CONTENT
    for connection in connections:
        connection.close()


async def test_parts_can_be_cancelled(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    names = await sent(worker, ticket_id, 50)
    assert (await ask(worker, tus("DELETE", names[0]))).status == 204
    assert (await ask_quietly(worker, tus("HEAD", names[0]))).status == 404
    assert await offset(worker, names[1]) == 50
    assert (await ask(worker, tus("DELETE", names[1]))).status == 204
    await reaches(worker, ticket_id, State.CANCELLED)


async def test_without_room_for_a_copy_nothing_is_put_together(
    worker: OneWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket_id = await worker.ticket()
    names = await sent(worker, ticket_id, 50)

    async def none() -> int:
        return 0

    with monkeypatch.context() as patched:
        patched.setattr(worker.services.store, "free_bytes", none)
        answer = await ask(worker, final(ticket_id, *reversed(names)))
        assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert (await look(worker, ticket_id)).order == ()
    assert (await ask(worker, final(ticket_id, *reversed(names)))).status == 201
    assert stored(worker, await reaches(worker, ticket_id, State.ARRIVED)) == CONTENT[50:] + CONTENT[:50]


@pytest.mark.parametrize("error", [StorageFull("full"), StorageFailed("EIO")])
async def test_a_copy_that_fails_loses_no_part_and_is_made_again(
    worker: OneWorker, error: StorageFull | StorageFailed
) -> None:
    ticket_id = await worker.ticket()
    names = await sent(worker, ticket_id, 50)
    files(worker).faults.fail("join", error)
    assert (await ask(worker, final(ticket_id, *reversed(names)))).status == 503
    assert files(worker).faults.hit["join"] == 1
    assert (await ask(worker, final(ticket_id, *reversed(names)))).status == 201
    assert stored(worker, await reaches(worker, ticket_id, State.ARRIVED)) == CONTENT[50:] + CONTENT[:50]


async def test_no_offset_is_returned_while_parts_are_copied(worker: OneWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incoming.uploads.parts.JOIN_WAIT", 0.05)
    ticket_id = await worker.ticket()
    names = await sent(worker, ticket_id, 50)
    files(worker).faults.hold("join")
    answer = await ask(worker, final(ticket_id, *reversed(names)))
    assert (answer.status, "upload-offset" in answer.headers) == (201, False)
    told = (await head(worker, ticket_id)).headers
    assert ("upload-offset" in told, told["upload-length"]) == (False, "100")
    files(worker).faults.release("join")
    await reaches(worker, ticket_id, State.ARRIVED)
    assert await offset(worker, ticket_id) == 100


async def test_a_server_that_starts_again_puts_the_parts_together(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket()
    names = await sent(worker, ticket_id, 50)
    files(worker).faults.fail("join", StorageFull("full"))
    assert (await ask(worker, final(ticket_id, *reversed(names)))).status == 503
    await recover(worker.services.tickets, worker.services.store, worker.services.upload_service)
    ticket = await reaches(worker, ticket_id, State.ARRIVED)
    assert stored(worker, ticket) == CONTENT[50:] + CONTENT[:50]


async def test_a_store_that_cannot_put_parts_together_offers_none(
    worker: OneWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket_id = await worker.ticket()
    told = await ask(worker, tus("OPTIONS", ticket_id))
    assert "concatenation" in told.headers["tus-extension"].split(",")
    monkeypatch.setattr("incoming.uploads.parts.JoiningStore", int)
    told = await ask(worker, tus("OPTIONS", ticket_id))
    assert "concatenation" not in told.headers["tus-extension"].split(",")
    assert (await ask(worker, create(ticket_id, PARTIAL, size=5))).status == 400


def test_the_store_of_files_can() -> None:
    assert callable(FileStore.join)
