"""Every URL of the server, with every method, from an unidentified client: refused, or open for a ticket only."""

import re

import pytest

from incoming.handlers.library import Library
from incoming.handlers.routes import ROUTES
from tests.support.incoming_server import IncomingServer
from tests.system.hostile.conftest import LogLines
from tests.system.hostile.wire import STRANGER, ask, new_ticket, request, status_of

HEADERS = ("Incoming-Action: 1", "Tus-Resumable: 1.0.0")
"""Without them some answers would say only that they are missing."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
[LIBRARY] = [path for path, handler in ROUTES if handler is Library]
EXAMPLES = {
    "/frontend/upload/([^/]+)": "/frontend/upload/none",
    "/frontend/upload/([^/]+)/whole": "/frontend/upload/none/whole",
    "/frontend/tus/([^/]+)": "/frontend/tus/none",
    "/frontend/tus/([^/]+)/([0-9]{1,16}-[0-9]{1,16})": "/frontend/tus/none/0-9",
    "/frontend/tus/([^/]+)/([^/]+)": "/frontend/tus/none/none",
    LIBRARY: "/frontend/incoming.js",
    "/health(?:/(live))?": "/health",
    r"/openapi\.json": "/openapi.json",
    r"/status(?:/(status\.css|(?:status|readable|traffic|dom|actions|address|filters|rows|detail)\.js))?": "/status",
    "/status/uploads/(cancel|retry)": "/status/uploads/retry",
    "/status/uploads/([^/]+)": "/status/uploads/TICKET",
    "/status/uploads/([^/]+)/(cancel|retry)": "/status/uploads/TICKET/cancel",
}
PATHS = [EXAMPLES.get(path, path) for path, _ in ROUTES]
OPEN = {
    ("GET", "/frontend/incoming.js"),
    ("HEAD", "/frontend/incoming.js"),
    ("GET", "/openapi.json"),
    ("HEAD", "/openapi.json"),
    ("OPTIONS", "/frontend/upload/none"),
    ("OPTIONS", "/frontend/upload/none/whole"),
    ("OPTIONS", "/frontend/tus/none"),
    ("OPTIONS", "/frontend/tus/none/0-9"),
    ("OPTIONS", "/frontend/tus/none/none"),
    ("OPTIONS", "/frontend/uploads/wait"),
}


@pytest.fixture(scope="module")
def options() -> tuple[str, ...]:
    return ("--backend-networks", "127.0.0.1")


@pytest.mark.parametrize("prefix", ["/incoming", "/incoming/0.1"])
@pytest.mark.parametrize("path", PATHS)
def test_an_unidentified_client_reaches_nothing_at_any_route(
    hostile_server: IncomingServer, log_lines: LogLines, path: str, prefix: str
) -> None:
    ticket = new_ticket(hostile_server)
    log_lines()
    for method in METHODS:
        form = "Content-Type: application/x-www-form-urlencoded"
        target = f"{prefix}{path.replace('TICKET', ticket)}?id={ticket}&signalFinishURL=http://127.0.0.1:9/"
        status, head, body = ask(hostile_server, request(f"{method} {target}", form, *HEADERS), STRANGER)
        expected = {200, 204} if (method, path) in OPEN else {400, 403, 404, 405}
        assert status in expected, f"{method} {path}: {status} {body!r}"
        shown = head + body.decode(errors="replace")
        assert ticket not in shown
        assert path == "/openapi.json" or not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", shown)  # it has examples
    assert len(log_lines()) <= len(METHODS)
    assert status_of(hostile_server, ticket)["state"] == "new"


def test_all_routes_have_an_example() -> None:
    assert all(re.fullmatch(path, EXAMPLES.get(path, path)) for path, _ in ROUTES)
