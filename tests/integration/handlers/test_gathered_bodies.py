"""Bodies that nobody asked for, at every URL that takes none: bounded in size and in time."""

from pathlib import Path

import pytest

from incoming.handlers.backend.parameters import MAX_BODY
from tests.support.one_worker import one_worker
from tests.support.raw_http import RawConnection, request

URLS = [
    ("GET", "/incoming/frontend/incoming.js"),
    ("GET", "/incoming/frontend/upload_ws?ticket=x"),
    ("GET", "/incoming/health"),
    ("POST", "/incoming/status/uploads/x/cancel"),
    ("POST", "/nowhere"),
    ("POST", "/incoming/backend/new_upload"),
    ("GET", "/incoming/backend/new_upload"),
]


@pytest.mark.parametrize(("method", "url"), URLS)
async def test_a_body_that_does_not_come_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, url: str
) -> None:
    monkeypatch.setattr("incoming.server.worker.BODY_SECONDS", 0.3)
    async with one_worker(tmp_path / "storage") as worker:
        connection = await RawConnection.open(worker.port)
        await connection.send(request(method, url, length=1000) + b"x" * 10)
        assert await connection.is_closed()
        connection.close()


@pytest.mark.parametrize(("method", "url"), URLS)
async def test_a_body_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, method: str, url: str) -> None:
    async with one_worker(tmp_path / "storage") as worker:
        connection = await RawConnection.open(worker.port)
        await connection.send(request(method, url, length=MAX_BODY + 1))
        answer = await connection.everything()
        assert answer.split(b" ")[1] in (b"400", b"405", b"413")
        connection.close()
