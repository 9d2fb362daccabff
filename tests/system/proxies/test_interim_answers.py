"""104 (Upload Resumption Supported) through real proxies: it reaches the client at once, or is not sent at all."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import urlsplit

import pytest

from tests.conftest import StartServer
from tests.support.incoming_server import IncomingServer
from tests.system.e2e.upload_app import UploadApp
from tests.system.proxies.authority import Certificate
from tests.system.proxies.conftest import StartRealProxy
from tests.system.proxies.real_proxy import RealProxy

SIZE = 200_000
BODY = bytes(SIZE // 2)

Head = tuple[int, dict[str, str]]


@pytest.fixture
def setting() -> str:
    """The option `interim_answers`."""
    return "auto"


@pytest.fixture
def server(start_server: StartServer, setting: str) -> IncomingServer:
    return start_server("--interim-answers", setting)


@contextmanager
def half_sent(proxy: RealProxy, ticket: str, certificate: Certificate) -> Iterator[tuple[ssl.SSLSocket, BinaryIO]]:
    """A creation whose body stops in the middle: the connection, and what comes back over it."""
    url = urlsplit(proxy.origin)
    with (
        socket.create_connection((url.hostname, url.port), 20) as plain,
        certificate.client_context().wrap_socket(plain, server_hostname=url.hostname) as connection,
        connection.makefile("rb") as answers,
    ):
        lines = [
            f"POST {proxy.prefix}/incoming/0.1/frontend/upload/{ticket}?filename=film.mp4 HTTP/1.1",
            f"Host: {url.netloc}",
            "Upload-Draft-Interop-Version: 8",
            "Upload-Complete: ?1",
            f"Content-Length: {SIZE}",
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + BODY)
        yield connection, answers


def read_head(answers: BinaryIO) -> Head:
    """Return status and headers, with names in lower case, of the next answer."""
    status = int(answers.readline().split()[1])
    lines = iter(lambda: answers.readline().decode().strip(), "")
    return status, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


@pytest.mark.promise(133)
@pytest.mark.parametrize("setting", ["true"])
@pytest.mark.parametrize("name", ["haproxy", "caddy"])
def test_behind_a_proxy_that_passes_it_the_client_learns_where_to_resume_before_the_body_ends(
    start_real_proxy: StartRealProxy, app: UploadApp, certificate: Certificate, name: str
) -> None:
    ticket = app.new_ticket()
    with half_sent(start_real_proxy(name), ticket, certificate) as (connection, answers):
        status, headers = read_head(answers)
        assert (status, headers["location"], headers["upload-draft-interop-version"]) == (104, ticket, "8")
        connection.sendall(BODY)
        while (head := read_head(answers))[0] == 104:
            assert 0 < int(head[1]["upload-offset"]) <= SIZE
        assert (head[0], head[1]["upload-offset"]) == (200, str(SIZE))


@pytest.mark.parametrize("name", ["nginx", "haproxy", "caddy", "apache"])
def test_without_the_operators_word_nothing_but_the_answer_comes_through_a_proxy(
    start_real_proxy: StartRealProxy, app: UploadApp, certificate: Certificate, name: str
) -> None:
    """nginx would take a 104 for the answer, and be out of step from then on."""
    ticket = app.new_ticket()
    with half_sent(start_real_proxy(name), ticket, certificate) as (connection, answers):
        connection.sendall(BODY)
        status, headers = read_head(answers)
        assert (status, headers["upload-offset"]) == (200, str(SIZE))
