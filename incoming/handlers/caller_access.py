"""Access control of backend functions and the operators' interface: the only place that checks addresses and tokens.

Behind a proxy on the same host every client looks like loopback. So a request that came through a proxy is judged by
its client's address, which is taken only from a proxy in `trusted_proxies`; a request with forwarding headers from any
other peer is refused. Does not know what the functions do.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders, HTTPServerRequest

from incoming.core.errors import Forbidden
from incoming.settings.settings import Settings
from incoming.settings.value_types import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_FORWARDING = frozenset(
    {
        *("forwarded", "forwarded-for", "via", "x-forwarded", "x-original-forwarded-for", "x-real-ip", "x-client-ip"),
        *("true-client-ip", "cf-connecting-ip", "cdn-loop", "fastly-client-ip", "x-cluster-client-ip"),
        *("x-envoy-external-address", "x-azure-clientip", "x-proxyuser-ip", "proxy-client-ip", "wl-proxy-client-ip"),
    }
)
"""Headers that proxies and content delivery networks add, besides all of X-Forwarded-*."""

_NAMES_NO_CLIENT = frozenset(
    {
        *("via", "cdn-loop", "x-forwarded-proto", "x-forwarded-protocol", "x-forwarded-scheme", "x-forwarded-ssl"),
        *("x-forwarded-host", "x-forwarded-port", "x-forwarded-server", "x-forwarded-prefix", "x-forwarded-path"),
        *("x-forwarded-uri", "x-forwarded-method", "x-forwarded-client-cert"),
    }
)
"""The forwarding headers that do not name the client's address."""

_HOP = re.compile(r"\[([^\]]+)\](?::[0-9]+)?|([0-9.]+)(?::[0-9]+)?|([0-9a-fA-F:.]+)", re.ASCII)
"""An entry of X-Forwarded-For: [IPv6] or IPv4, with or without a port, or a bare IPv6 address."""

NO_ADDRESS = ipaddress.IPv4Address("0.0.0.0")  # noqa: S104 - no address to bind to
"""The address of a peer without one, such as a peer on a Unix socket."""


def client_address(request: HTTPServerRequest, settings: Settings) -> Address:
    """Return the address of a request: the client's if it is trustworthy, otherwise the peer's."""
    try:
        return _judged_address(request, settings)
    except Forbidden:
        return peer_address(request)


def peer_address(request: HTTPServerRequest) -> Address:
    """Return the other end of the TCP connection; an IPv4-mapped IPv6 address becomes the IPv4 one."""
    return _address(request.remote_ip or "") or NO_ADDRESS


def is_backend(address: Address, settings: Settings) -> bool:
    """Return whether an address is within `backend_networks`."""
    return _within(address, settings.backend_networks)


def require_backend_peer(request: HTTPServerRequest, settings: Settings) -> Address:
    """Return the address of a caller within `backend_networks`. Raises Forbidden for any other."""
    address = _judged_address(request, settings)
    if not is_backend(address, settings):
        raise Forbidden(f"backend functions are not open to {address}")
    return address


def require_backend_caller(request: HTTPServerRequest, settings: Settings) -> Address:
    """Return the address of a caller within `backend_networks` that is no browser and sends the token, if one is set.

    Raises Forbidden. A browser on an allowed host would call on behalf of any web page; browsers send Sec-Fetch-Site
    or, with POST, Origin (Fetch standard section 3.2; Fetch Metadata).
    """
    address = require_backend_peer(request, settings)
    if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
        raise Forbidden("backend functions are not open to browsers")
    if settings.backend_token and not same_secret(_bearer(request.headers), settings.backend_token):
        raise Forbidden("backend functions require the right 'Authorization: Bearer' token")
    return address


def require_operator(request: HTTPServerRequest, settings: Settings) -> Address:
    """Return the address of an operator: within `backend_networks`, with a browser or not. Raises Forbidden.

    A web site can point its own name at this address and then counts as the same origin in a browser here (DNS
    rebinding). So unless a token is set, the Host must be a name that no web site can have.
    """
    address = require_backend_peer(request, settings)
    if not settings.backend_token and not _is_own_name(request.host_name):
        raise Forbidden("under a host name of the internet the status page is open only with a backend_token")
    return address


def require_monitor(request: HTTPServerRequest, settings: Settings) -> Address:
    """Return the address of a caller who may see health and metrics: within `backend_networks`. Raises Forbidden.

    A request from loopback can come from a browser by DNS rebinding, see `require_operator`. So its Host must be a name
    that no web site can have, unless it has the token. Other machines may use any name.
    """
    address = require_backend_peer(request, settings)
    has_token = bool(settings.backend_token) and shows_token(request, settings)
    if address.is_loopback and not has_token and not _is_own_name(request.host_name):
        raise Forbidden(
            "from this machine health and metrics are open only under an IP address, localhost, the machine's own name "
            "or a name without a dot"
        )
    return address


def shows_token(request: HTTPServerRequest, settings: Settings) -> bool:
    """Return whether the request has the backend token, as Bearer or as a browser's password, or none is set."""
    given = _bearer(request.headers) or _password(request.headers)
    return not settings.backend_token or same_secret(given, settings.backend_token)


def same_site(request: HTTPServerRequest) -> bool:
    """Return whether no header names a page of another origin (Fetch standard section 3.2; Fetch Metadata)."""
    origin = request.headers.get("Origin")
    own = origin is None or urlsplit(origin).netloc.lower() == request.host.lower()
    return own and request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")


def _is_own_name(name: str) -> bool:
    name = name.lower()
    numeric = _address(name.strip("[]")) is not None
    return numeric or "." not in name or name.endswith(".localhost") or name == socket.gethostname().lower()


def same_secret(given: str, expected: str) -> bool:
    """Return whether two secrets are equal, in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass"))


def _judged_address(request: HTTPServerRequest, settings: Settings) -> Address:
    peer = peer_address(request)
    forwarding = sorted(name for name in request.headers if _is_forwarding(name))
    if not forwarding:
        return peer
    if not _within(peer, settings.trusted_proxies):
        raise Forbidden(f"{forwarding[0]} from {peer}, which is not in trusted_proxies")
    hops = request.headers.get("X-Forwarded-For")
    if hops is None:
        return _own_address(request, settings, peer, forwarding)
    # From the right: each trusted proxy has appended its peer. The first that is not a trusted proxy is the client;
    # entries to its left may be forged.
    for hop in reversed(hops.split(",")):
        match = _HOP.fullmatch(hop.strip())
        address = _address(match[match.lastindex or 0]) if match else None
        if address is None:
            raise Forbidden(f"the proxy at {peer} sends an X-Forwarded-For that is not a list of addresses")
        peer = address
        if not _within(address, settings.trusted_proxies):
            break
    return peer


def _own_address(request: HTTPServerRequest, settings: Settings, peer: Address, forwarding: Sequence[str]) -> Address:
    """Return the trusted proxy's own address for a request that names no client. Raises Forbidden.

    A sidecar beside an app adds X-Forwarded-Proto or Via and nothing else. The backend token proves that the app sent
    the request; without it, it could come from anywhere.
    """
    telling = [name for name in forwarding if name.lower() not in _NAMES_NO_CLIENT]
    if telling or not settings.backend_token:
        raise Forbidden(f"the proxy at {peer} sends {(telling or forwarding)[0]} but not X-Forwarded-For")
    if not same_secret(_bearer(request.headers), settings.backend_token):
        raise Forbidden(
            f"the proxy at {peer} sends {forwarding[0]} but not X-Forwarded-For, "
            "and the request has no 'Authorization: Bearer' with the backend token"
        )
    return peer


def shows_proxy(request: HTTPServerRequest) -> bool:
    """Return whether a header shows that the request came through a proxy."""
    return any(_is_forwarding(name) for name in request.headers)


def _is_forwarding(name: str) -> bool:
    name = name.lower()
    return name in _FORWARDING or name.startswith("x-forwarded-")


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _bearer(headers: HTTPHeaders) -> str:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _password(headers: HTTPHeaders) -> str:
    """Return the password of HTTP Basic authentication (RFC 7617); the user name is ignored."""
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
