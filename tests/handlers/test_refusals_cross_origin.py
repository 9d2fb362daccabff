"""A page of another host can read why its request was refused: CORS headers are on errors, too."""

import http.client

import pytest

from tests.support.incoming_server import IncomingServer

PAGE = "https://app.example.org"


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 404), ("PUT", 404), ("POST", 404), ("DELETE", 404), ("PATCH", 405)]
)
def test_refusals_are_readable(server: IncomingServer, method: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, "/incoming/0.1/frontend/upload/unknown", headers={"Origin": PAGE})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Retry-After" in (answer.headers["Access-Control-Expose-Headers"] or "")
