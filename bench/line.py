"""A wide-area line between two network namespaces: delay, rate, random loss and a drop-tail queue, in user space.

The kernel's own emulator (netem) is not available everywhere, TUN devices are. Each namespace has one; this program
connects them. A packet leaves when the ones before it have left at the line's rate, is dropped when the queue is full
or by chance, and arrives half a round trip later. Needs root and Linux (/dev/net/tun, iproute2).

    python bench/line.py --rate 100 --rtt 100 --loss 0.1 -- COMMAND ...   # runs COMMAND at the near end
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import heapq
import multiprocessing
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

MTU = 1500
CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Line:
    """`rate` in Mbit/s in each direction, `rtt` in milliseconds, `loss` in percent of the packets of each direction.

    `queue` is what the drop-tail queue holds, in milliseconds at the line's rate: the delay that a full one adds.
    """

    rate: float = 100.0
    rtt: float = 100.0
    loss: float = 0.0
    queue: float = 100.0

    @property
    def name(self) -> str:
        return f"{self.rate:g} Mbit/s, {self.rtt:g} ms, {self.loss:g} %"


@dataclass(frozen=True)
class Ends:
    """The two namespaces and their addresses: the browser sits at the near end, the server at the far end."""

    near: str
    far: str
    near_address: str = "10.77.0.1"
    far_address: str = "10.77.0.2"
    far_hosts: tuple[str, ...] = ("10.77.0.3", "10.77.0.4")
    """Further addresses of the far end: to a browser, other hosts."""

    def near_command(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.near, *command]

    def far_command(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.far, *command]


class Direction:
    """One direction of the line: packets wait for the rate, then for the delay."""

    def __init__(self, line: Line, seed: int) -> None:
        self._bytes_per_second = line.rate * 1e6 / 8
        self._delay = line.rtt / 2000
        self._loss = line.loss / 100
        self._longest_wait = line.queue / 1000
        self._random = random.Random(seed)
        self._free_at = 0.0
        self.under_way: list[tuple[float, int, bytes]] = []
        self._count = 0
        self.lost = 0
        self.dropped = 0

    def take(self, packet: bytes, now: float) -> None:
        start = max(now, self._free_at)
        if start - now > self._longest_wait:
            self.dropped += 1
            return
        self._free_at = start + len(packet) / self._bytes_per_second
        if self._random.random() < self._loss:
            self.lost += 1
            return
        self._count += 1
        heapq.heappush(self.under_way, (self._free_at + self._delay, self._count, packet))

    def due(self, now: float) -> Iterator[bytes]:
        while self.under_way and self.under_way[0][0] <= now:
            yield heapq.heappop(self.under_way)[2]


def _carry(line: Line, ends: Ends, ready: Event) -> None:
    """Run the line: read packets at one end and write them, when due, at the other."""
    near, far = _open_tun(ends.near), _open_tun(ends.far)
    ready.set()
    ways = {near: (Direction(line, 1), far), far: (Direction(line, 2), near)}
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            arrivals = [way.under_way[0][0] for way, _ in ways.values() if way.under_way]
            wait = max(0.0, min(arrivals) - time.monotonic()) if arrivals else 1.0
            readable, _, _ = select.select(list(ways), [], [], wait)
            now = time.monotonic()
            for end in readable:
                with contextlib.suppress(BlockingIOError):
                    for _ in range(64):
                        ways[end][0].take(os.read(end, MTU + 100), now)
            for way, other in ways.values():
                for packet in way.due(now):
                    with contextlib.suppress(OSError):  # that end is not up yet
                        os.write(other, packet)


def _open_tun(namespace: str) -> int:
    """Create a TUN device in that namespace; the descriptor stays valid in other namespaces."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open() as home, Path(f"/run/netns/{namespace}").open() as there:
        _enter(libc, there.fileno())
        try:
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", b"line0", _IFF_TUN | _IFF_NO_PI))
        finally:
            _enter(libc, home.fileno())
    return device


def _enter(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _set_up(namespace: str, address: str, peer: str, hosts: tuple[str, ...], peers: tuple[str, ...]) -> None:
    """Give an end its address and further `hosts`, and the routes to those of the other end."""
    _ip("-n", namespace, "link", "set", "lo", "up")
    _ip("-n", namespace, "address", "add", address, "peer", peer, "dev", "line0")
    _ip("-n", namespace, "link", "set", "line0", "mtu", str(MTU), "txqueuelen", "1000", "up")
    for host in hosts:
        _ip("-n", namespace, "address", "add", f"{host}/32", "dev", "line0")
    for host in peers:
        _ip("-n", namespace, "route", "add", host, "dev", "line0")


@contextlib.contextmanager
def stretched(line: Line, congestion: str = "cubic") -> Iterator[Ends]:
    """Yield the two ends of such a line for the duration of the block.

    Raises PermissionError without root. New namespaces inherit the host's congestion control, so it is set there and
    restored.
    """
    if os.geteuid():
        raise PermissionError("the simulated line needs root: it makes network namespaces and TUN devices")
    tag = f"{os.getpid() % 100000:05d}"
    ends = Ends(f"near{tag}", f"far{tag}")
    before = CONGESTION.read_text()
    CONGESTION.write_text(congestion)
    try:
        for namespace in (ends.near, ends.far):
            _ip("netns", "add", namespace)
    finally:
        CONGESTION.write_text(before)
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    wire = context.Process(target=_carry, args=(line, ends, ready), daemon=True)
    try:
        wire.start()
        if not ready.wait(10):
            raise RuntimeError("the line's process did not start")
        _set_up(ends.near, ends.near_address, ends.far_address, (), ends.far_hosts)
        _set_up(ends.far, ends.far_address, ends.near_address, ends.far_hosts, ())
        yield ends
    finally:
        wire.terminate()
        wire.join(5)
        for namespace in (ends.near, ends.far):
            subprocess.run(["ip", "netns", "delete", namespace], check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=Line.rate, help="Mbit/s in each direction (default %(default)g)")
    parser.add_argument("--rtt", type=float, default=Line.rtt, help="round trip in milliseconds (default %(default)g)")
    parser.add_argument("--loss", type=float, default=Line.loss, help="percent of packets lost (default %(default)g)")
    parser.add_argument("--queue", type=float, default=Line.queue, help="queue in milliseconds (default %(default)g)")
    parser.add_argument("command", nargs="+", help="what to run at the near end; the far end is 10.77.0.2")
    told = parser.parse_args()
    with stretched(Line(told.rate, told.rtt, told.loss, told.queue)) as ends:
        environment = os.environ | {"LINE_NEAR": ends.near, "LINE_FAR": ends.far}
        return subprocess.run(ends.near_command(*told.command), env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
