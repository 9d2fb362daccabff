"""A client like URLSession of Apple: the file in one request, and what it learned from a 104 after a cut."""

import hashlib
from pathlib import Path
from urllib.parse import urljoin

import pytest

from incoming.core.ticket import State
from tests.support.draft_client import DraftClient
from tests.support.one_worker import OneWorker
from tests.support.raw_http import Answer, RawConnection
from tests.support.stores import until

CONTENT = bytes(range(256)) * 4000


class UrlSession:
    """Knows the upload's URL from a 104 only; asks it after each cut, and sends the rest."""

    def __init__(self, worker: OneWorker, ticket: str, version: int) -> None:
        self._client = DraftClient(worker, ticket, version)
        self._resume_at: str | None = None

    async def upload(self, content: bytes, *cuts: int) -> Answer:
        """Send all; the connection is reset behind so many bytes of each attempt."""
        offset = 0
        for cut in cuts:
            await self._cut(content, offset, cut)
            assert self._resume_at is not None, "without a 104 it cannot resume"
            offset = await self._asked()
        return await self._attempt(content, offset)

    def _message(self, content: bytes, offset: int, sent: int | None = None) -> bytes:
        rest = content[offset:]
        body = rest if sent is None else rest[:sent]
        if self._resume_at is None:
            return self._client.message("POST", complete=True, body=body, length=len(rest))
        return self._client.message("PATCH", complete=True, offset=offset, body=body, length=len(rest))

    async def _cut(self, content: bytes, offset: int, sent: int) -> None:
        connection = await RawConnection.open(self._client.worker.port)
        await connection.send(self._message(content, offset, sent))
        if self._resume_at is None:
            interim = await connection.head()
            assert interim.status == 104
            self._resume_at = urljoin(self._client.path, interim.headers["location"])
        service = self._client.worker.services.upload_service

        async def arrived() -> int:
            return (await service.get_ticket(self._client.ticket)).extents.size

        await until(lambda: service.uploads() != [], "the upload being open")
        while await arrived() < offset + sent:
            pass
        connection.reset()

    async def _asked(self) -> int:
        assert self._resume_at == self._client.path
        answer = await self._client.ask("HEAD")
        assert (answer.status, self._client.parse_complete(answer)) == (204, False)
        return int(answer.headers["upload-offset"])

    async def _attempt(self, content: bytes, offset: int) -> Answer:
        connection = await RawConnection.open(self._client.worker.port)
        answer = await connection.ask(self._message(content, offset))
        connection.close()
        return answer


@pytest.mark.parametrize("version", [3, 5, 6, 8])
@pytest.mark.parametrize("cuts", [(), (300_000,), (1, 400_000, 5000)])
async def test_urlsession_resumes_by_itself(worker: OneWorker, version: int, cuts: tuple[int, ...]) -> None:
    ticket_id = await worker.ticket()
    answer = await UrlSession(worker, ticket_id, version).upload(CONTENT, *cuts)
    assert (answer.status, answer.json["state"]) == (200, "arrived")
    ticket = await worker.services.upload_service.get_ticket(ticket_id)
    assert ticket.state == State.ARRIVED
    stored = Path(ticket.location.address).read_bytes()
    assert hashlib.sha256(stored).digest() == hashlib.sha256(CONTENT).digest()
