"""Files that become objects: what a GiB costs the server on its way into a Ceph of one node, next to tusd's S3 store.

All share one gateway, and are measured one after the other. Requests are those that the gateway has counted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import native
import scale
from cost import cost
from servers import BENCH, ROOT, TUSD, Servers, free_port

sys.path.insert(0, str(ROOT))

from tests.support.ceph_cluster import ACCESS_KEY, REGION, SECRET_KEY, free_range, stop_cluster

GIB = 1 << 30
BUCKET = "bench"
STORES: Mapping[str, str] = {"s3-sha256": "sha256", "s3-md5": "md5", "s3-unchecked": "none"}
"""By the destType, the store's `checksum`."""
TUSDS: Mapping[str, list[str]] = {"tusd": [], "tusd-unchecked": ["-s3-disable-content-hashes"]}
"""The options of each tusd."""
KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": REGION}
# Ceph refuses the trailers with which Amazon's libraries send their checksums unless they are asked not to.
TUSD_ENVIRONMENT = {**KEYS, "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}


@dataclass(frozen=True)
class Stored:
    """One verified upload: `cpu_per_gib` in CPU seconds of the server, `peak` in bytes of memory."""

    way: str
    bytes: int
    seconds: float
    cpu_per_gib: float
    peak: int
    requests_per_gib: float


@dataclass(frozen=True)
class Way:
    """`send` uploads once to the server whose main process is `pid`."""

    name: str
    pid: int
    send: Callable[[], None]


class ObjectServers:
    """Ceph and the servers in front of it, at the far end if `servers` are there; `rivals` are tusd's."""

    def __init__(self, servers: Servers, rivals: bool) -> None:
        self.servers = servers
        self.tusd_ports = {name: free_port() for name in TUSDS}
        self._port = free_range()
        self._cluster = servers.directory / "ceph"
        self._rivals = rivals

    @property
    def url(self) -> str:
        """The gateway's."""
        return self.servers.origin(self._port)

    @contextlib.contextmanager
    def running(self) -> Iterator[ObjectServers]:
        with contextlib.ExitStack() as stack:
            stack.callback(stop_cluster, self._cluster)
            self._run(
                str(ROOT / "tools" / "ceph_one_node.sh"), self._cluster, self._port, "memstore", self.servers.host
            )
            self.bucket("create", self.servers.origin(self.servers.nginx_port))
            stack.enter_context(self.servers.product())
            for name, options in TUSDS.items() if self._rivals and TUSD.exists() else ():
                self._start_tusd(stack, name, options)
            yield self

    def _start_tusd(self, stack: contextlib.ExitStack, name: str, options: list[str]) -> None:
        port = self.tusd_ports[name]
        command = [str(TUSD), "-host", self.servers.host, "-port", str(port), "-verbose=false"]
        command += ["-s3-bucket", BUCKET, "-s3-endpoint", self.url, *options]
        self.servers.start(stack, name, port, command, TUSD_ENVIRONMENT)

    def bucket(self, command: str, *more: str) -> str:
        """Call bench/bucket.py where the gateway can be reached; return what it prints."""
        return self._run(sys.executable, BENCH / "bucket.py", self.url, command, BUCKET, *more)

    def requests(self) -> int:
        """Return how many the gateway has counted so far."""
        socket = self._cluster / "run" / "client.rgw.asok"
        counters = json.loads(self._run("ceph", "--admin-daemon", socket, "perf", "dump"))
        return int(counters["rgw"]["req"])

    def collect_garbage(self) -> None:
        """Let Ceph remove now what it would remove after some hours: its memory is limited."""
        self._run("radosgw-admin", "-c", self._cluster / "ceph.conf", "gc", "process", "--include-all")

    def _run(self, *command: object) -> str:
        whole = [*self.servers.prefix, *map(str, command)]
        done = subprocess.run(whole, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{whole}: {done.stderr[-2000:]}")
        return done.stdout.strip()


def servers(host: str, directory: Path, prefix: Sequence[str] = (), *, rivals: bool = True) -> ObjectServers:
    """Return the servers of this part, which do not run yet."""
    found = ObjectServers(Servers(host, directory, prefix), rivals)
    found.servers.environment = {
        "INCOMING_OBJECT_STORES": json.dumps({name: _store(found.url, name) for name in STORES}),
        "INCOMING_DEST_TYPES": ",".join(("file", *STORES)),
    }
    return found


def _store(url: str, name: str) -> dict[str, str]:
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    return {"bucket": BUCKET, "endpoint": url, "prefix": f"{name}/", "checksum": STORES[name], "direct": "true", **keys}


def pay(objects: ObjectServers, way: Way, size: int, expected: str) -> Stored:
    """Measure one upload of `size` bytes. Raises if the object differs."""
    asked, before, began = objects.requests(), cost(way.pid), time.monotonic()
    way.send()
    seconds = time.monotonic() - began
    spent, asked = cost(way.pid) - before, objects.requests() - asked
    check(objects, way.name, expected)
    return Stored(way.name, size, seconds, spent.cpu * GIB / size, spent.peak, asked * GIB / size)


def check(objects: ObjectServers, way: str, expected: str) -> None:
    """Verify the one object that there is and remove it."""
    digest, key = objects.bucket("take").split()
    if digest != expected:
        raise RuntimeError(f"{way}: object {key} is not the file that was sent")
    objects.collect_garbage()


SLOW = {"rate": 10_000, "seconds": 20}
"""Of each of many slow uploads at once, whose memory is measured: bytes a second, and for how long."""


def crowd(directory: Path, uploads: int, dest_type: str) -> scale.Crowd:
    """Measure many slow uploads at once, to files or to a store. Raises if what arrived is not what was sent."""
    with servers("127.0.0.1", directory, rivals=False).running() as objects:

        def check(tickets: list[str], content: bytes) -> None:
            whole = hashlib.md5(hashlib.md5(content).digest()).hexdigest()  # the ETag of an object of one part
            found = dict(line.split() for line in objects.bucket("etags").splitlines())
            if found != {f"{dest_type}/{ticket}": f"{whole}-1" for ticket in tickets}:
                raise RuntimeError(f"of {uploads} objects not all are what was sent")

        return scale.crowd(
            objects.servers, uploads, **SLOW, dest_type=dest_type, check=None if dest_type == "file" else check
        )


def ways(objects: ObjectServers, data: memoryview) -> Iterator[Way]:
    """Return the ways of the same `data` through a server."""
    servers, size = objects.servers, len(data)

    def websocket(store: str) -> None:
        client = native.WebSocketClient(servers.host, servers.incoming_port, servers.ticket(destType=store))
        client.upload(data, 0, size, size, uuid.uuid4().hex)

    def put(store: str) -> None:
        path = f"/incoming/0.1/frontend/upload/{servers.ticket(destType=store)}?filename=bench"
        if (status := native.put(servers.host, servers.incoming_port, path, data, size)) != 200:
            raise RuntimeError(f"PUT to {store}: status {status}")

    def tus(name: str) -> None:
        native.tus(servers.host, objects.tusd_ports[name], "/files", data, size)

    for store, checksum in STORES.items():
        yield Way(f"PUT, checksum {checksum}", servers.pids["incoming"], lambda store=store: put(store))
        yield Way(f"WebSocket, checksum {checksum}", servers.pids["incoming"], lambda store=store: websocket(store))
    for name, options in TUSDS.items():
        if name in servers.pids:
            text = " ".join(["tusd", *options])
            yield Way(text, servers.pids[name], lambda name=name: tus(name))
