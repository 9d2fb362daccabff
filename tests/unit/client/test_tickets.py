"""The backend functions as Python functions: parameters, errors, and which calls are made again."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from incoming.client import AsyncTickets, NewerError, NotTheServer, Tickets, Unreachable, UploadError
from incoming.client import tickets as module
from incoming.client.http_exchange import Answer
from incoming.core.errors import BadParameter, ServerShutdown, StorageFull, WrongSecret

ID = "1b2c3d4e-0000-4000-8000-000000000000"


class PlayedServer:
    """Answers by a script, and records what it was asked. Pauses take no time, and are recorded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.script: list[Answer | Exception] = []
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []
        self.pauses: list[float] = []
        self.now = 0.0
        monkeypatch.setattr(module, "exchange", self._exchange)
        monkeypatch.setattr(module.time, "sleep", self._sleep)
        monkeypatch.setattr(module.asyncio, "sleep", self._async_sleep)
        make = module.Backoff
        monkeypatch.setattr(module, "Backoff", lambda limit: make(limit, clock=lambda: self.now, jitter=lambda: 1.0))

    def _exchange(self, method: str, url: str, body: bytes, headers: Mapping[str, str], *others: object) -> Answer:
        assert method == "POST"
        self.asked.append((url, body.decode(), headers))
        answer = self.script.pop(0) if self.script else Answer(200, {}, b"ok")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def _async_sleep(self, seconds: float) -> None:
        self._sleep(seconds)


def refusal(code: int, status: int = 503, *, retry: bool = False, **others: Any) -> Answer:
    described = {"code": code, "name": "x", "message": f"text {code}", "retry": retry, "retry_after": None, **others}
    return Answer(status, {}, json.dumps(described).encode())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> PlayedServer:
    return PlayedServer(monkeypatch)


Call = Callable[..., str | list[str] | None]


@pytest.fixture(params=["threads", "coroutines"])
def call(request: pytest.FixtureRequest, server: PlayedServer) -> Call:
    """Function that calls a function of Tickets, of either kind."""

    def run(function: str, *arguments: str | int, **named: Any) -> str | list[str] | None:
        if request.param == "threads":
            return getattr(Tickets("http://server:4000/", token="t"), function)(*arguments, **named)  # type: ignore[no-any-return]
        return asyncio.run(getattr(AsyncTickets("http://server:4000", token="t"), function)(*arguments, **named))

    return run


def test_values_become_parameters(call: Call, server: PlayedServer) -> None:
    server.script = [Answer(200, {}, ID.encode())]
    options = {"maxSize": 2**30, "removeFileWhenFinished": False, "testCallback": True}
    types = (name for name in (".pdf", "image/*"))
    found = call("new_upload", "http://app/?a=b&c", secret="ü&", allowedTypes=types, metadata={"a": [1]}, **options)
    assert found == ID
    [(url, body, headers)] = server.asked
    assert url == "http://server:4000/incoming/0.1/backend/new_upload"
    assert body == (
        "signalFinishURL=http%3A%2F%2Fapp%2F%3Fa%3Db%26c&backendSecret=%C3%BC%26&allowedTypes=.pdf%2Cimage%2F%2A"
        "&metadata=%7B%22a%22%3A+%5B1%5D%7D&maxSize=1073741824&removeFileWhenFinished=false&testCallback=true"
    )
    assert headers["Authorization"] == "Bearer t"


def test_answers_are_read_as_json(call: Call, server: PlayedServer) -> None:
    described = {"ticket": ID, "warnings": []}
    server.script = [Answer(200, {}, json.dumps(answer).encode()) for answer in (described, described)]
    assert call("new_upload", "http://app/") == ID
    assert call("finish", ID) is None


def test_tickets_come_in_batches(call: Call, server: PlayedServer) -> None:
    answer = {"ticket": ID, "tickets": [ID, "b"], "warnings": []}
    server.script = [Answer(200, {}, json.dumps(answer).encode()), Answer(200, {}, ID.encode())]
    assert call("new_uploads", 2, "http://app/", secret="s") == [ID, "b"]
    assert server.asked[0][1] == "signalFinishURL=http%3A%2F%2Fapp%2F&backendSecret=s&count=2"
    with pytest.raises(NotTheServer, match="does not know 'count'"):
        call("new_uploads", 2, "http://app/")


@pytest.mark.parametrize("function", ["cancel", "finish"])
def test_an_upload_is_ended(call: Call, server: PlayedServer, function: str) -> None:
    assert call(function, ID, secret="s") is None
    assert [(url.rpartition("/")[2], body) for url, body, _ in server.asked] == [
        (f"{function}_upload", f"id={ID}&backendSecret=s")
    ]


@pytest.mark.parametrize(
    ("code", "status", "kind"), [(101, 400, BadParameter), (202, 403, WrongSecret), (777, 400, NewerError)]
)
def test_a_refusal_is_the_error_of_its_code_and_final(
    call: Call, server: PlayedServer, code: int, status: int, kind: type[UploadError]
) -> None:
    server.script = [refusal(code, status)]
    with pytest.raises(kind, match=f"text {code}") as caught:
        call("finish", ID)
    assert (caught.value.code, caught.value.status, caught.value.retry) == (code, status, False)
    assert len(server.asked) == 1


def test_a_passing_failure_is_waited_for(call: Call, server: PlayedServer) -> None:
    server.script = [
        Unreachable("refused"),
        refusal(501, retry=True, retry_after=2),
        Answer(502, {}, b"<html>Bad Gateway</html>"),
        Answer(200, {}, ID.encode()),
    ]
    assert call("new_upload", "http://app/") == ID
    assert server.pauses == [0.3, 2.6, 1.2], "ever longer, and at least as long as the server asks for"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Unreachable("refused"), Unreachable),
        (refusal(500, retry=True), ServerShutdown),
        (refusal(501, retry=True, retry_after=60), StorageFull),
    ],
)
def test_nobody_waits_for_ever(
    call: Call, server: PlayedServer, answer: Answer | Exception, kind: type[Exception]
) -> None:
    server.script = [answer] * 100
    with pytest.raises(kind):
        call("cancel", ID)
    assert server.now <= 10


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, {}, b"<html>nginx</html>"),
        Answer(200, {}, b"<!DOCTYPE html><p>Welcome"),
        Answer(200, {}, b""),
        Answer(200, {}, b'{"status": "up"}'),
        Answer(302, {}, b""),
        Answer(403, {}, b'{"detail": "no"}'),
    ],
)
def test_the_answer_of_something_else_is_no_ticket(call: Call, server: PlayedServer, answer: Answer) -> None:
    server.script = [answer]
    with pytest.raises(NotTheServer, match=r"no answer of an Incoming!! server: HTTP status \d+"):
        call("new_upload", "http://app/")


@pytest.mark.parametrize("url", ["localhost:4000", "", "ftp://x", "http://"])
def test_what_is_no_url_is_said_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="is not the URL of a server"):
        Tickets(url)
