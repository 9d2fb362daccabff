"""A network namespace for one instance, with a line to its clients and another one to the database.

Each line is a pair of virtual Ethernet devices. A line that is cut drops every packet in silence, as a pulled cable
does: neither side gets an error before its time-outs. Needs root.
"""

import secrets
import subprocess
from types import TracebackType
from typing import Self

from tests.support.tools import require_root, require_tool


class InstanceNetwork:
    """Use it in a with statement. The instance listens at `address` and finds PostgreSQL at `database_address`."""

    def __init__(self, subnet: str, number: int) -> None:
        """`subnet` are the first three numbers of a /24 network that the instances of one cluster share."""
        self.name = f"inc-{secrets.token_hex(4)}"
        clients, database = 8 * number, 8 * number + 4
        self.host_address = f"{subnet}.{clients + 1}"
        self.address = f"{subnet}.{clients + 2}"
        self.database_address = f"{subnet}.{database + 1}"
        self._own_database_address = f"{subnet}.{database + 2}"
        self._clients = f"{self.name[4:]}c"
        self._database = f"{self.name[4:]}d"

    @property
    def prefix(self) -> list[str]:
        """The command that runs another one in the namespace."""
        return ["ip", "netns", "exec", self.name]

    def __enter__(self) -> Self:
        require_root()
        _ip("netns", "add", self.name)
        self._connect(self._clients, self.host_address, self.address)
        self._connect(self._database, self.database_address, self._own_database_address)
        _ip("-n", self.name, "link", "set", "lo", "up")
        _ip("-n", self.name, "route", "add", "default", "via", self.host_address)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for device in (self._clients, self._database):
            _ip("link", "del", device)
        _ip("netns", "del", self.name)

    def _connect(self, device: str, near: str, far: str) -> None:
        _ip("link", "add", device, "type", "veth", "peer", "name", "far", "netns", self.name)
        _ip("-n", self.name, "link", "set", "far", "name", device)
        _ip("addr", "add", f"{near}/30", "dev", device)
        _ip("link", "set", device, "up")
        _ip("-n", self.name, "addr", "add", f"{far}/30", "dev", device)
        _ip("-n", self.name, "link", "set", device, "up")

    def cut_database(self) -> None:
        """From now on no packet passes between the instance and the database."""
        _ip("link", "set", self._database, "down")

    def mend_database(self) -> None:
        _ip("link", "set", self._database, "up")


def _ip(*words: str) -> None:
    done = subprocess.run([require_tool("ip"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
