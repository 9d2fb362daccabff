"""Who may call the backend functions: directly, through proxies, with forged headers, from browsers, with a token."""

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from incoming.core.errors import Forbidden
from incoming.handlers.caller_access import (
    client_address,
    require_backend_caller,
    require_backend_peer,
    require_monitor,
    same_secret,
)
from incoming.settings.settings import Settings, load_settings

TOKEN = "correct-horse-battery-staple"
PROXIED = (
    "--trusted-proxies",
    "10.0.0.1,10.0.0.2,::1",
    "--backend-networks",
    "127.0.0.0/8,192.168.0.0/16,2001:db8::/32",
)


class Peer:
    """The part of a connection that a request reads."""

    protocol = "http"

    def __init__(self, remote_ip: str) -> None:
        self.remote_ip = remote_ip


class Connection:
    def __init__(self, remote_ip: str) -> None:
        self.context = Peer(remote_ip)


def settings(*options: str) -> Settings:
    return load_settings(options, {})


def request(peer: str, *headers: tuple[str, str]) -> HTTPServerRequest:
    fields = HTTPHeaders()
    for name, value in (*headers, *([] if "Host" in dict(headers) else [("Host", "incoming")])):
        fields.add(name, value)
    start_line = RequestStartLine("POST", "/", "HTTP/1.1")
    return HTTPServerRequest(start_line=start_line, headers=fields, connection=Connection(peer))


def caller(known: Settings, peer: str, *headers: tuple[str, str]) -> str:
    """The address that was let in, or why none was."""
    try:
        return str(require_backend_caller(request(peer, *headers), known))
    except Forbidden as error:
        return error.message


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_loopback_may_call_by_default(peer: str) -> None:
    assert caller(settings(), peer) == peer.removeprefix("::ffff:")


@pytest.mark.parametrize("peer", ["10.0.0.1", "192.168.1.1", "203.0.113.5", "2001:db8::1", "::ffff:203.0.113.5", "::2"])
def test_other_networks_may_not_call_by_default(peer: str) -> None:
    assert caller(settings(), peer) == f"backend functions are not open to {peer.removeprefix('::ffff:')}"


def test_a_peer_without_an_address_may_not_call() -> None:
    assert "not open to 0.0.0.0" in caller(settings(), "")
    assert "not open to 0.0.0.0" in caller(settings(), "@")


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"])
def test_configured_networks_may_call(peer: str) -> None:
    known = settings("--backend-networks", "10.0.0.0/8,2001:db8::/32")
    assert caller(known, peer) == peer.removeprefix("::ffff:")
    assert "not open" in caller(known, "127.0.0.1")


def test_an_empty_list_allows_no_caller() -> None:
    assert "not open" in caller(settings("--backend-networks", ""), "127.0.0.1")


# --- proxies ----------------------------------------------------------------------------------------------------------

FORWARDING = [
    ("X-Forwarded-For", "127.0.0.1"),
    ("x-forwarded-for", ""),
    ("X-Real-IP", "127.0.0.1"),
    ("Forwarded", "for=127.0.0.1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "localhost"),
    ("Via", "1.1 proxy"),
    ("CF-Connecting-IP", "127.0.0.1"),
    ("True-Client-IP", "127.0.0.1"),
    ("X-Client-IP", "127.0.0.1"),
    ("Forwarded-For", "127.0.0.1"),
    ("X-Forwarded", "for=127.0.0.1"),
    ("X-Original-Forwarded-For", "127.0.0.1"),
    ("X-Cluster-Client-IP", "127.0.0.1"),
    ("Fastly-Client-IP", "127.0.0.1"),
    ("X-Envoy-External-Address", "127.0.0.1"),
    ("X-Azure-ClientIP", "127.0.0.1"),
    ("CDN-Loop", "cdn.example"),
    ("WL-Proxy-Client-IP", "127.0.0.1"),
]


@pytest.mark.parametrize("header", FORWARDING)
def test_forwarding_headers_of_an_unknown_peer_are_refused(header: tuple[str, str]) -> None:
    assert "which is not in trusted_proxies" in caller(settings(), "127.0.0.1", header)
    assert "which is not in trusted_proxies" in caller(settings(*PROXIED), "192.168.1.1", header)


@pytest.mark.parametrize(
    ("hops", "address"),
    [
        ("192.168.1.9", "192.168.1.9"),
        ("192.168.1.9:51234", "192.168.1.9"),
        ("2001:db8::9", "2001:db8::9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("[2001:db8::9]:443", "2001:db8::9"),
        ("::ffff:192.168.1.9", "192.168.1.9"),
        # What the client claims stands left of what the proxies saw and does not count.
        ("127.0.0.1, 192.168.1.9", "192.168.1.9"),
        ("garbage, 192.168.1.9", "192.168.1.9"),
        # Our own proxies behind each other.
        ("192.168.1.9, 10.0.0.2", "192.168.1.9"),
        ("203.0.113.5, 192.168.1.9, 10.0.0.2, 10.0.0.1", "192.168.1.9"),
    ],
)
def test_behind_a_trusted_proxy_the_client_address_counts(hops: str, address: str) -> None:
    assert caller(settings(*PROXIED), "10.0.0.1", ("X-Forwarded-For", hops)) == address


@pytest.mark.parametrize(
    "hops",
    ["203.0.113.5", "127.0.0.1, 203.0.113.5", "192.168.1.9, 203.0.113.5, 10.0.0.2", "203.0.113.5:80", "[2001:db9::1]"],
)
def test_the_world_behind_a_trusted_proxy_is_refused(hops: str) -> None:
    assert "not open to" in caller(settings(*PROXIED), "10.0.0.1", ("X-Forwarded-For", hops))


@pytest.mark.parametrize(
    "hops", ["", "unknown", "127.0.0.1,", "localhost", "127.1", "0x7f000001", "127.0.0.1 x", "[::1"]
)
def test_what_is_no_list_of_addresses_is_refused(hops: str) -> None:
    assert "not a list of addresses" in caller(settings(*PROXIED), "10.0.0.1", ("X-Forwarded-For", hops))


def test_several_lines_are_one_list() -> None:
    headers = (("X-Forwarded-For", "192.168.1.9"), ("X-Forwarded-For", "203.0.113.5"))
    assert "not open to 203.0.113.5" in caller(settings(*PROXIED), "10.0.0.1", *headers)


def test_a_proxy_that_does_not_say_for_whom_is_refused() -> None:
    for header in (("X-Real-IP", "192.168.1.9"), ("Forwarded", "for=192.168.1.9")):
        assert "but not X-Forwarded-For" in caller(settings(*PROXIED), "10.0.0.1", header)


NAMING_NO_CLIENT = [("X-Forwarded-Proto", "https"), ("Via", "1.1 sidecar"), ("X-Forwarded-Host", "incoming:4000")]


@pytest.mark.parametrize("header", NAMING_NO_CLIENT)
def test_a_sidecar_that_names_no_client_calls_for_itself_with_the_token(header: tuple[str, str]) -> None:
    known = settings("--trusted-proxies", "10.0.0.1", "--backend-networks", "10.0.0.0/8", "--backend-token", TOKEN)
    right = ("Authorization", f"Bearer {TOKEN}")
    assert caller(known, "10.0.0.1", header, right) == "10.0.0.1"
    assert caller(known, "10.0.0.1", *NAMING_NO_CLIENT, right) == "10.0.0.1"
    for wrong in ((header,), (header, ("Authorization", f"Bearer {TOKEN}x"))):
        assert "no 'Authorization: Bearer' with the backend token" in caller(known, "10.0.0.1", *wrong)
    for telling in (("X-Real-IP", "10.0.0.1"), ("Forwarded", "for=10.0.0.1"), ("CF-Connecting-IP", "10.0.0.1")):
        assert f"sends {telling[0].title()} but not X-F" in caller(known, "10.0.0.1", header, right, telling)
    assert "which is not in trusted_proxies" in caller(known, "10.0.0.2", header, right)


@pytest.mark.parametrize("header", NAMING_NO_CLIENT)
def test_a_sidecar_needs_token_and_network(header: tuple[str, str]) -> None:
    right = ("Authorization", f"Bearer {TOKEN}")
    without = settings("--trusted-proxies", "10.0.0.1", "--backend-networks", "10.0.0.0/8")
    assert "but not X-Forwarded-For" in caller(without, "10.0.0.1", header, right)
    outside = settings("--trusted-proxies", "10.0.0.1", "--backend-token", TOKEN)
    assert caller(outside, "10.0.0.1", header, right) == "backend functions are not open to 10.0.0.1"


def test_a_proxy_and_the_app_on_one_host() -> None:
    """The app calls directly and is let in; what comes through the proxy is judged by whom the proxy saw."""
    known = settings("--trusted-proxies", "127.0.0.1")
    assert caller(known, "127.0.0.1") == "127.0.0.1"
    assert caller(known, "127.0.0.1", ("X-Forwarded-For", "127.0.0.1")) == "127.0.0.1"
    assert "not open to 203.0.113.5" in caller(known, "127.0.0.1", ("X-Forwarded-For", "127.0.0.1, 203.0.113.5"))


def test_only_trusted_proxies_name_the_client_of_other_requests() -> None:
    known = settings(*PROXIED)
    assert str(client_address(request("203.0.113.5", ("X-Forwarded-For", "1.2.3.4")), known)) == "203.0.113.5"
    assert str(client_address(request("10.0.0.1", ("X-Forwarded-For", "203.0.113.5")), known)) == "203.0.113.5"
    assert str(client_address(request("10.0.0.1", ("X-Forwarded-For", "what")), known)) == "10.0.0.1"


# --- browsers and tokens ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        ("Origin", "http://localhost:4000"),
        ("Origin", "null"),
        ("Origin", ""),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ],
)
def test_browsers_are_refused_wherever_they_are(header: tuple[str, str]) -> None:
    assert caller(settings(), "127.0.0.1", header) == "backend functions are not open to browsers"


def test_with_a_token_it_must_be_there() -> None:
    known = settings("--backend-token", TOKEN)
    assert caller(known, "127.0.0.1", ("Authorization", f"Bearer {TOKEN}")) == "127.0.0.1"
    assert caller(known, "127.0.0.1", ("Authorization", f"bearer  {TOKEN}")) == "127.0.0.1"
    for wrong in (
        "",
        "Bearer",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer \xff",
    ):
        assert "require the right 'Authorization: Bearer' token" in caller(known, "127.0.0.1", ("Authorization", wrong))
    assert "Bearer" in caller(known, "127.0.0.1")


def test_the_token_does_not_open_other_networks() -> None:
    known = settings("--backend-token", TOKEN)
    assert "not open to" in caller(known, "203.0.113.5", ("Authorization", f"Bearer {TOKEN}"))


def test_the_network_alone_decides_who_sees_the_health() -> None:
    known = settings("--backend-token", TOKEN)
    assert str(require_backend_peer(request("127.0.0.1", ("Sec-Fetch-Site", "none")), known)) == "127.0.0.1"
    with pytest.raises(Forbidden):
        require_backend_peer(request("203.0.113.5"), known)


def test_other_machines_may_monitor_under_any_name() -> None:
    known = settings("--backend-networks", "10.0.0.0/8,127.0.0.0/8")
    named = ("Host", "incoming.monitoring.example.org")
    assert str(require_monitor(request("10.0.0.1", named), known)) == "10.0.0.1"
    with pytest.raises(Forbidden, match="from this machine health"):
        require_monitor(request("127.0.0.1", named), known)


def test_secrets_are_compared_as_they_are() -> None:
    assert same_secret("", "")
    assert same_secret(" \N{SNOWMAN}\0", " \N{SNOWMAN}\0")
    assert not same_secret("secret ", "secret")
    assert not same_secret("", "secret")
