"""The SHA-256 of a file for the app: over any protocol, out of order, after a restart, and when it is another one."""

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from incoming.core.errors import StorageFailed
from incoming.core.ticket import State
from incoming.uploads import file_digests
from tests.integration.handlers.conftest import StartWorker, files
from tests.support.app_stub import AppStub
from tests.support.draft_client import DraftClient
from tests.support.one_worker import OneWorker, one_worker
from tests.support.stores import until

CONTENT = bytes(range(256)) * 400
DIGEST = "sha-256=" + hashlib.sha256(CONTENT).hexdigest()
OTHER = "sha-256=" + "0" * 64


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digests, "MIN_READ", 10_000)


async def put(worker: OneWorker, ticket_id: str, start: int, end: int, content: bytes = CONTENT) -> int:
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
    path = f"/incoming/frontend/upload/{ticket_id}"
    return (await worker.fetch("PUT", path, content[start:end], headers)).code


async def status(worker: OneWorker, ticket_id: str) -> dict[str, object]:
    answer = await worker.fetch("GET", f"/incoming/frontend/upload/{ticket_id}")
    told: dict[str, object] = json.loads(answer.body)
    return told


@pytest.mark.parametrize("asked", ["sha-256", "SHA-256", DIGEST, DIGEST.upper()])
async def test_pieces_out_of_order_give_the_files_digest(worker: OneWorker, asked: str) -> None:
    ticket_id = await worker.ticket(digest=asked)
    assert await put(worker, ticket_id, 60_000, 90_000) == 308
    assert "digest" not in await status(worker, ticket_id)
    assert await put(worker, ticket_id, 0, 60_000) == 308
    assert await put(worker, ticket_id, 90_000, len(CONTENT)) == 200
    told = await status(worker, ticket_id)
    assert (told["state"], told["digest"]) == ("arrived", DIGEST)
    assert files(worker).faults.hit["read"] == 0  # none was made to fail


async def test_appends_of_other_protocols_give_the_files_digest(worker: OneWorker) -> None:
    sender = DraftClient(worker, await worker.ticket(digest="sha-256"), 8)
    await sender.ask("POST", complete=False, body=CONTENT[:50_000])
    answer = await sender.ask("PATCH", complete=True, offset=50_000, body=CONTENT[50_000:])
    assert (answer.status, answer.json["digest"]) == (200, DIGEST)


async def test_an_empty_file_has_its_digest(worker: OneWorker) -> None:
    ticket_id = await worker.ticket(digest="sha-256")
    assert (await worker.fetch("PUT", f"/incoming/frontend/upload/{ticket_id}", b"")).code == 200
    assert (await status(worker, ticket_id))["digest"] == "sha-256=" + hashlib.sha256(b"").hexdigest()


async def test_after_a_restart_the_file_is_read_again(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket_id = await worker.ticket(digest=DIGEST)
        assert await put(worker, ticket_id, 0, 50_000) == 308
    async with one_worker(tmp_path) as worker:
        assert await put(worker, ticket_id, 50_000, len(CONTENT)) == 200
        assert (await status(worker, ticket_id))["digest"] == DIGEST


@pytest.mark.parametrize("draft", [False, True])
async def test_another_file_than_the_app_expects_fails_the_upload(
    worker: OneWorker, app_stub: AppStub, draft: bool
) -> None:
    given = {"signalFinishURL": app_stub.url, "digest": OTHER, "backendSecret": "s"}
    code, ticket_id = await worker.call("new_upload", **given)
    assert code == 200
    sender = DraftClient(worker, ticket_id, 8)
    if draft:
        answer = await sender.ask("POST", complete=True, body=CONTENT)
        assert (answer.status, answer.json["code"]) == (410, 403)
    else:
        refused = await worker.fetch("PUT", sender.path, CONTENT, {"Accept": "application/json"})
        assert (refused.code, json.loads(refused.body)["name"]) == (410, "digest_mismatch")
    told = await status(worker, ticket_id)
    assert (told["state"], told["code"], told["digest"]) == ("failed", 403, DIGEST)
    assert DIGEST.partition("=")[2] in str(told["reason"])
    assert not files(worker).part(ticket_id).exists()
    assert not files(worker).final(ticket_id).exists()
    again = await worker.fetch("PUT", sender.path, CONTENT, {"Accept": "application/json"})
    assert (again.code, json.loads(again.body)["code"]) == (410, 403)
    # The app is told that no file will come.
    handover = asyncio.ensure_future(worker.services.callbacks.run())
    await until(lambda: app_stub.callbacks != [], "the app being told")
    params = app_stub.callbacks[0].params
    assert (params["cancelled"], params["filename"], params["digest"]) == ("yes", "", DIGEST)
    assert params["cancelReason"] == told["reason"]
    await worker.services.callbacks.stop(1)
    await handover
    assert (await worker.services.upload_service.get_ticket(ticket_id)).state == State.FAILED


async def test_a_file_that_cannot_be_read_back_is_not_handed_over(start_worker: StartWorker) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket(digest="sha-256")
    files(worker).faults.fail_always("read", StorageFailed("EIO"))
    assert await put(worker, ticket_id, 0, len(CONTENT)) == 503
    assert files(worker).faults.hit["read"] >= 2
    assert (await status(worker, ticket_id))["state"] == "uploading"
    files(worker).faults.clear()
    assert await put(worker, ticket_id, 0, len(CONTENT)) == 200
    assert (await status(worker, ticket_id))["digest"] == DIGEST


@pytest.mark.parametrize("asked", ["md5", "sha-256=", "sha-256=" + "0" * 63, "sha-256=" + "g" * 64, "sha256"])
async def test_a_malformed_digest_is_refused(worker: OneWorker, asked: str) -> None:
    code, text = await worker.call("new_upload", signalFinishURL="http://127.0.0.1:9/", digest=asked)
    assert (code, text) == (
        400, "digest invalid: it is neither 'sha-256' nor 'sha-256=' with 64 hexadecimal digits"
    )  # fmt: skip
