"""The quota as clients meet it: an upload that reserves step by step waits in the middle, and continues."""

from pathlib import Path

import pytest

from tests.support.one_worker import OneWorker, one_worker

STEP = 1000


async def put(worker: OneWorker, ticket: str, start: int, end: int, size: int) -> int:
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
    path = f"/incoming/frontend/upload/{ticket}?filename=a"
    return (await worker.fetch("PUT", path, bytes(end - start), headers)).code


async def test_a_claim_without_max_size_leaves_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incoming.core.size_limit.RESERVATION_STEP", STEP)
    async with one_worker(tmp_path / "storage", "--storage-quota", "10000") as worker:
        greedy, honest, limited = await worker.ticket(), await worker.ticket(), await worker.ticket(maxSize="9000")
        assert await put(worker, greedy, 0, 1, 10_000) == 308
        assert await put(worker, honest, 0, 5000, 9000) == 308
        assert await put(worker, limited, 0, 1, 9000) == 503
        # The greedy one gets what is left, and waits for more without losing anything.
        assert await put(worker, greedy, 1, 3000, 10_000) == 308
        assert await put(worker, greedy, 3000, 7000, 10_000) == 503
        assert await worker.state(greedy) == "uploading"
        await worker.call("cancel_upload", id=honest)
        assert await put(worker, greedy, 3000, 10_000, 10_000) == 200
