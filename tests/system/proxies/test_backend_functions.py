"""Backend functions behind a real nginx that forwards them, with all headers that a client can forge."""

import http.client

import pytest

from tests.conftest import StartServer
from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until
from tests.system.proxies.authority import Certificate
from tests.system.proxies.conftest import StartRealProxy
from tests.system.proxies.real_proxy import Edit

BACKEND = "127.0.0.9"
"""Who may call, where the operator says so."""

STRANGER = "127.0.0.5"
TOO_MUCH: Edit = (r"\^/incoming/\(0\\\.1/\)\?frontend/", "^/incoming/")
"""What lets everything of the server through."""

REAL_IP: Edit = (
    r"proxy_set_header X-Forwarded-For [^;]*;\n(?=        proxy_set_header Upgrade)",
    "proxy_set_header X-Real-IP $remote_addr;\n",
)

FORGED: dict[str, list[tuple[str, str]]] = {
    "nothing": [],
    "the backend's address": [("X-Forwarded-For", BACKEND)],
    "with a port": [("X-Forwarded-For", f"{BACKEND}:4000")],
    "mapped": [("X-Forwarded-For", f"::ffff:{BACKEND}")],
    "in brackets": [("X-Forwarded-For", f"[::ffff:{BACKEND}]")],
    "several": [("X-Forwarded-For", f"{BACKEND}, {BACKEND},{BACKEND}")],
    "several headers": [("X-Forwarded-For", BACKEND), ("X-Forwarded-For", BACKEND)],
    "in other letters": [("x-FORWARDED-for", BACKEND), ("X_Forwarded_For", BACKEND)],
    "the proxy's address": [("X-Forwarded-For", "127.0.0.1")],
    "empty": [("X-Forwarded-For", "")],
    "not a list": [("X-Forwarded-For", "unknown, _hidden")],
    "a real address": [("X-Real-IP", BACKEND)],
    "forwarded": [("Forwarded", f"for={BACKEND}")],
    "forwarded, quoted": [("Forwarded", f'for="{BACKEND}:4711";proto=http;by=127.0.0.1')],
    "forwarded, obfuscated": [("Forwarded", f"for=_hidden, for={BACKEND}")],
    "forwarded, IPv6": [("Forwarded", f'for="[::ffff:{BACKEND}]:80"')],
    "everything": [
        ("X-Forwarded-For", BACKEND),
        ("X-Real-IP", BACKEND),
        ("Forwarded", f"for={BACKEND}"),
        ("True-Client-IP", BACKEND),
        ("CF-Connecting-IP", BACKEND),
    ],
    "hidden from the server": [("X-Forwarded-For", BACKEND), ("Connection", "X-Forwarded-For, close")],
}


def call(port: int, certificate: Certificate, source: str, *headers: tuple[str, str]) -> tuple[int, str]:
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=20, context=certificate.client_context(), source_address=(source, 0)
    )
    connection.putrequest("POST", "/incoming/backend/new_upload?signalFinishURL=http://127.0.0.1:9/")
    for name, value in (*headers, ("Content-Length", "0")):
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.fixture
def server(start_server: StartServer, request: pytest.FixtureRequest) -> IncomingServer:
    return start_server("--workers", "1", *getattr(request, "param", ()))


@pytest.mark.promise(134)
@pytest.mark.parametrize(
    "server", [("--backend-networks", BACKEND, "--trusted-proxies", "127.0.0.1")], indirect=True, ids=["trusted"]
)
def test_a_trusted_proxy_is_judged_by_its_client_not_by_the_clients_claim(
    start_real_proxy: StartRealProxy, server: IncomingServer, certificate: Certificate
) -> None:
    proxy = start_real_proxy("nginx", TOO_MUCH)
    for name, headers in FORGED.items():
        status, text = call(proxy.port, certificate, STRANGER, *headers)
        assert (status, text) == (403, f"backend functions are not open to {STRANGER}"), name
    assert call(proxy.port, certificate, BACKEND)[0] == 200
    assert call(proxy.port, certificate, BACKEND, ("X-Forwarded-For", "203.0.113.5"))[0] == 200
    wait_until(lambda: f"client={STRANGER} function=new_upload error=forbidden" in server.log, "the refusal in the log")


@pytest.mark.promise(134)
@pytest.mark.parametrize("edits", [[TOO_MUCH], [TOO_MUCH, REAL_IP]], ids=["X-Forwarded-For", "X-Real-IP"])
def test_requests_of_an_untrusted_proxy_are_refused(
    start_real_proxy: StartRealProxy, certificate: Certificate, edits: list[Edit]
) -> None:
    """Although the proxy is on loopback, which is allowed."""
    proxy = start_real_proxy("nginx", *edits)
    for name, headers in FORGED.items():
        for source in (STRANGER, "127.0.0.1"):
            status, text = call(proxy.port, certificate, source, *headers)
            assert status == 403, name
            assert text.endswith("which is not in trusted_proxies"), name


@pytest.mark.promise(134)
@pytest.mark.parametrize("server", [("--trusted-proxies", "127.0.0.1")], indirect=True, ids=["trusted"])
def test_a_trusted_proxy_without_x_forwarded_for_is_refused(
    start_real_proxy: StartRealProxy, certificate: Certificate
) -> None:
    proxy = start_real_proxy("nginx", TOO_MUCH, REAL_IP)
    assert call(proxy.port, certificate, STRANGER) == (
        403,
        "the proxy at 127.0.0.1 sends X-Real-Ip but not X-Forwarded-For",
    )
