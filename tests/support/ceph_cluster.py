"""A real Ceph with S3 gateways: one cluster for all processes of a test run; buckets and gateways of a test's own."""

import atexit
import base64
import fcntl
import functools
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import boto3
from botocore.config import Config

from tests.support.ports import answers_http, free_port
from tests.support.tools import ROOT, require_tool
from tests.support.waiting import wait_until

ACCESS_KEY, SECRET_KEY = "testkey", "testsecret"
REGION = "us-east-1"
MIN_PART = 4096
"""Bytes of the smallest part but the last one that the gateways accept."""

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool")
_PORTS = 20
"""Consecutive ports of a cluster. Below those of `free_port`, which must not give one away in between."""
_LOWEST, _HIGHEST = 10000, 12000 - _PORTS
_PREFIX = "incoming-ceph-"


class Gateway:
    """An S3 gateway. `url` has neither path nor slash at its end."""

    def __init__(self, directory: Path, name: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self._configuration = directory / "ceph.conf"
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Gateway":
        frontend = f"beast endpoint=127.0.0.1:{self.port}"
        command = ["radosgw", "-f", "-c", str(self._configuration), "-n", self._name, f"--rgw-frontends={frontend}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: answers_http(self.port, "/"), "the gateway to answer", 60)
        return self

    def suspend(self) -> None:
        """It accepts connections and answers nothing, as a machine does that hangs."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class CephCluster:
    """One monitor, one OSD in memory and one gateway, `url`, that all tests share: never end that one."""

    def __init__(self) -> None:
        for program in PROGRAMS:  # before anything is made: without one the test is skipped
            require_tool(program)
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
        self._home = Path(tempfile.gettempdir()) / f"{_PREFIX}{run}"
        self._directory = self._home / "cluster"
        self._gateways = 0
        with _alone():
            _remove_leftovers()
            self._home.mkdir(exist_ok=True)
            self._users: IO[str] = (self._home / "users").open("a")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            port_file = self._home / "port"
            if not port_file.exists():
                port_file.write_text(str(self._start()))
            self.port = int(port_file.read_text())
        self.url = f"http://127.0.0.1:{self.port}"
        self.s3 = s3_client(self.url)

    def new_bucket(self, *, origins: Sequence[str] = ()) -> str:
        """Return the name of an empty bucket, to which pages of these web origins may PUT."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=name)
        self.abort_after(name, 30)
        if origins:
            self.allow(name, origins)
        return name

    def allow(self, bucket: str, origins: Sequence[str]) -> None:
        """Set the CORS rule of a bucket."""
        rule = {"AllowedOrigins": list(origins), "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}
        self.s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})

    def abort_after(self, bucket: str, days: int) -> None:
        """Set the lifecycle rule of a bucket: without one the server warns."""
        rule = {
            "ID": "incoming",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
        }
        self.s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})

    def objects(self, bucket: str) -> dict[str, int]:
        """Return the keys of the bucket, each with its size in bytes."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}

    def read(self, bucket: str, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def uploads(self, bucket: str) -> dict[str, str]:
        """Return the multipart uploads that are neither completed nor aborted: id -> key."""
        found = self.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return {entry["UploadId"]: entry["Key"] for entry in found}

    def abort_uploads(self, bucket: str) -> int:
        """Abort all of them, as a lifecycle rule does; return how many there were."""
        found = self.uploads(bucket)
        for upload, key in found.items():
            self.s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        return len(found)

    def start_gateway(self) -> Gateway:
        """Return one more gateway to the same cluster, which its caller may suspend and must kill."""
        self._gateways += 1
        return Gateway(self._directory, f"client.rgw.{os.getpid()}-{self._gateways}", free_port()).start()

    def leave(self) -> None:
        """The last process of the test run that leaves ends the cluster."""
        with _alone():
            if not self._users.closed:
                self._users.close()
                _remove_unused(self._home)

    def _start(self) -> int:
        for _ in range(3):
            port = free_range()
            command = [str(ROOT / "tools" / "ceph_one_node.sh"), str(self._directory), str(port)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
            if done.returncode == 0:
                return port
            stop_cluster(self._directory)
        raise AssertionError(f"Ceph does not start: {done.stderr}")


@functools.cache
def ceph_cluster() -> CephCluster:
    """Return the cluster of this test run. Without Ceph the test is skipped, or fails in CI."""
    cluster = CephCluster()
    atexit.register(cluster.leave)
    return cluster


def s3_client(url: str) -> Any:
    """Return boto3's client for a store at `url`: a witness that is not of this project."""
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    client = boto3.client("s3", endpoint_url=url, region_name=REGION, config=config, **keys)
    # Ceph wants the MD5 where boto3 sends other checksums by now.
    client.meta.events.register("before-sign.s3.PutBucketLifecycleConfiguration", _add_md5)
    return client


def _add_md5(request: Any, **_: Any) -> None:
    digest = hashlib.md5(request.data, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()


@contextmanager
def _alone() -> Iterator[None]:
    """Inside, no other process of this user starts or ends a cluster."""
    with (Path(tempfile.gettempdir()) / f"{_PREFIX}{os.getuid()}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_leftovers() -> None:
    """End the clusters of test runs that were killed: the locks of dead processes are free."""
    for home in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/"):
        if home.owner() == Path(tempfile.gettempdir(), f"{_PREFIX}{os.getuid()}.lock").owner():
            _remove_unused(home)


def _remove_unused(home: Path) -> None:
    with (home / "users").open("a") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        stop_cluster(home / "cluster")
        shutil.rmtree(home)


def stop_cluster(directory: Path) -> None:
    """End the processes that tools/ceph_one_node.sh has started in a directory."""
    # The gateways by name first: without their cluster they would wait.
    for file in sorted((directory / "run").glob("*.pid")):
        with suppress(ProcessLookupError, FileNotFoundError, ValueError):
            pid = int(file.read_text())
            if str(directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        with suppress(FileNotFoundError):
            file.unlink()


def free_range() -> int:
    """Return the first of consecutive ports that nobody listens on."""
    for _ in range(100):
        first = random.randint(_LOWEST, _HIGHEST)
        if all(_is_free(port) for port in range(first, first + _PORTS)):
            return first
    raise AssertionError(f"no {_PORTS} consecutive free ports between {_LOWEST} and {_HIGHEST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
