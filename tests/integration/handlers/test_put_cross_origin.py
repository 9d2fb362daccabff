"""The PUT endpoint for pages of other hosts: who may use it, and that each answer is readable (CORS)."""

import pytest

from tests.integration.handlers.conftest import StartWorker
from tests.support.one_worker import OneWorker
from tests.support.put_requests import ask, path, piece, post, put
from tests.support.raw_http import request

ORIGIN = "https://app.example.org"


async def test_a_preflight_runs_no_logic(worker: OneWorker) -> None:
    asked = request(
        "OPTIONS", path("unknown"), f"Origin: {ORIGIN}", "Access-Control-Request-Method: PUT",
        "Access-Control-Request-Headers: content-range, content-disposition",
    )  # fmt: skip
    answer = await ask(worker, asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "content-range, content-disposition"
    assert int(answer.headers["access-control-max-age"]) >= 7200
    assert "access-control-allow-credentials" not in answer.headers


async def test_answers_are_for_pages_of_other_hosts_to_read(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    for asked in (
        piece(ticket_id, 0, 40, 100, f"Origin: {ORIGIN}"),
        piece(ticket_id, 0, 40, 99, f"Origin: {ORIGIN}"),
        put(ticket_id, "nonsense", f"Origin: {ORIGIN}"),
        post(ticket_id, b"nonsense", f"Origin: {ORIGIN}"),
        request("GET", path(ticket_id), f"Origin: {ORIGIN}"),
        request("GET", path(ticket_id, "?wait=x"), f"Origin: {ORIGIN}"),
        request("GET", path(ticket_id, "?wait=%ff"), f"Origin: {ORIGIN}"),
        *(
            request(method, path("unknown"), f"Origin: {ORIGIN}")
            for method in ("GET", "PUT", "POST", "DELETE", "PATCH")
        ),
        request("DELETE", path(ticket_id), f"Origin: {ORIGIN}"),
        piece(ticket_id, 0, 40, 100, f"Origin: {ORIGIN}"),
    ):
        answer = await ask(worker, asked)
        assert answer.headers["access-control-allow-origin"] == ORIGIN, asked
        assert {"range", "retry-after"} <= set(answer.headers["access-control-expose-headers"].lower().split(", "))
        assert answer.headers["vary"] == "Origin"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("where", ["server", "ticket"])
async def test_only_allowed_origins_may_send(start_worker: StartWorker, where: str) -> None:
    worker = await start_worker(*(("--allowed-origins", ORIGIN) if where == "server" else ()))
    ticket_id = await worker.ticket(**({"allowedOrigins": ORIGIN} if where == "ticket" else {}))
    for origin in (
        "https://evil.example.org",
        "http://app.example.org",
        f"{ORIGIN}:8443",
        "null",
        f"{ORIGIN}.evil.org",
    ):
        for method in ("PUT", "POST", "GET", "DELETE"):
            answer = await ask(
                worker, request(method, path(ticket_id), f"Origin: {origin}", "Accept: application/json")
            )
            assert (answer.status, answer.json["code"]) == (403, 203), (origin, method)
    assert await worker.state(ticket_id) == "new", "nothing has happened"
    for headers in ((), (f"Origin: {ORIGIN}",), (f"Origin: {ORIGIN.upper()}",)):
        assert (await ask(worker, request("GET", path(ticket_id), *headers))).status == 200


async def test_a_preflight_of_another_origin_is_refused(start_worker: StartWorker) -> None:
    worker = await start_worker("--allowed-origins", ORIGIN)
    answer = await ask(
        worker, request("OPTIONS", path("x"), "Origin: https://evil.example.org", "Access-Control-Request-Method: PUT")
    )
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers
