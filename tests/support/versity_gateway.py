"""A versitygw: objects as files of a directory, by a second implementation of S3. `make wide` installs it."""

import atexit
import shutil
import subprocess
import tempfile
import uuid
from functools import cache
from pathlib import Path

from tests.support.ceph_cluster import ACCESS_KEY, SECRET_KEY, s3_client
from tests.support.ports import answers_http, free_port
from tests.support.tools import ROOT, unavailable
from tests.support.waiting import wait_until

MIN_PART = 5 * 1024 * 1024
"""Bytes of the smallest part but the last one: it is as strict as AWS."""


class VersityGateway:
    """One for the whole process. `url` has neither path nor slash at its end."""

    def __init__(self) -> None:
        program = ROOT / ".wide" / "versitygw"
        if not program.is_file():
            unavailable("versitygw is not installed: run make wide")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._directory = Path(tempfile.mkdtemp(prefix="incoming-versitygw-"))
        command = [str(program), "--access", ACCESS_KEY, "--secret", SECRET_KEY, "--quiet"]
        buckets, metadata = self._directory / "buckets", self._directory / "metadata"
        for directory in (buckets, metadata):
            directory.mkdir()
        command += [
            "--port",
            f"127.0.0.1:{self.port}",
            "--keep-alive",
            "posix",
            "--sidecar",
            str(metadata),
            str(buckets),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: answers_http(self.port, "/"), "versitygw to answer")
        self.s3 = s3_client(self.url)

    def new_bucket(self) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=name)
        return name

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory)


@cache
def versity_gateway() -> VersityGateway:
    """Return the gateway of this process. Without the program the test is skipped."""
    gateway = VersityGateway()
    atexit.register(gateway.stop)
    return gateway
