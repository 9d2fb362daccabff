"""One HTTP request of a program to a server, and its whole answer, with what Python brings along.

Decides time-outs, the size of an answer, and what a lost connection means. Proxies of the environment are not used: an
application and its Incoming!! server are neighbours. Knows no function and no retry.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from incoming.client.errors import Unreachable

MAX_ANSWER = 1024 * 1024
"""Bytes. A server's answers are far shorter."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `headers` in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def exchange(
    method: str,
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    timeout: float,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Make a request and return the answer. `timeout` is in seconds without a byte. Raises Unreachable."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    connection = _connection(parts.scheme, parts.hostname or "", parts.port, timeout, tls)
    try:
        connection.request(method, target, body=body, headers=dict(headers))
        response = connection.getresponse()
        received = response.read(MAX_ANSWER)
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, received)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"no answer from {parts.netloc}: {_described(error, timeout)}") from error
    finally:
        connection.close()


def _connection(
    scheme: str, host: str, port: int | None, timeout: float, tls: ssl.SSLContext | None
) -> http.client.HTTPConnection:
    if scheme == "https":
        context = tls or ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    return http.client.HTTPConnection(host, port, timeout=timeout)


def _described(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {timeout:g} s"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return "it closed the connection" if not str(error) else str(error)
