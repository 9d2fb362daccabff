"""A real proxy with a shipped configuration in front of several instances."""

from pathlib import Path

import requests

from tests.support.ports import free_port
from tests.system.proxies.authority import make_certificate
from tests.system.proxies.real_proxy import Edit, HAProxy, Nginx, RealProxy

PROXIES = {"nginx": (Nginx, "nginx-instances.conf"), "haproxy": (HAProxy, "haproxy-instances.cfg")}


class Entrance:
    """The proxy `name` in front of these instances, each an address with a port. `port` is one without TLS."""

    def __init__(self, name: str, home: Path, *instances: str, edits: tuple[Edit, ...] = ()) -> None:
        kind, shipped = PROXIES[name]
        self.port = free_port()
        self.proxy: RealProxy = kind(shipped, home / "proxy", make_certificate(home / "certificate"))
        plain = {
            "nginx": ("server_name uploads", f"listen 127.0.0.1:{self.port}; server_name uploads"),
            "haproxy": ("option forwardfor", f"bind 127.0.0.1:{self.port}\n    option forwardfor"),
        }
        quickly = {"nginx": ("fail_timeout=5s", "fail_timeout=1s"), "haproxy": ("inter 2s", "inter 500ms")}
        first, second, *others = instances
        assert not others or name == "haproxy", "the other file has no place for them at its end"
        more = "".join(f"\n    server more-{number} {instance}" for number, instance in enumerate(others))
        self.proxy.start_edited(
            (r"10\.0\.0\.11:4000", first),
            (r"10\.0\.0\.12:4000", second + more),
            plain[name],
            quickly[name],
            *edits,
        )

    @property
    def frontend(self) -> str:
        return f"http://127.0.0.1:{self.port}/incoming/0.1/frontend"

    def serves(self) -> bool:
        return requests.get(f"{self.frontend}/incoming.js", timeout=20).status_code == 200
