"""Free TCP ports that stay free while a server restarts."""

import http.client
import random
import socket

# Below Linux's ephemeral range (32768 and up): no outgoing connection and no bind to port 0 takes such a port in the
# moment between the test's asking and the server's binding, nor while a server under test is down.
_LOWEST, _HIGHEST = 12000, 32000


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host` that nobody listens on now."""
    for _ in range(1000):
        port = random.randint(_LOWEST, _HIGHEST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no free port between {_LOWEST} and {_HIGHEST}")


def accepts_connections(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def answers_http(port: int, path: str, host: str = "127.0.0.1") -> bool:
    """Whether an HTTP server answers a GET of `path` there, whatever it says."""
    connection = http.client.HTTPConnection(host, port, timeout=1.0)
    try:
        connection.request("GET", path)
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
