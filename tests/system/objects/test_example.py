"""Example 3 as a newcomer starts it: one command, a bucket of a real Ceph, and a page in Chromium."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.support.ceph_cluster import ACCESS_KEY, SECRET_KEY, CephCluster
from tests.support.known_files import KnownFile, make_file
from tests.support.ports import free_port
from tests.support.tools import ROOT
from tests.support.waiting import wait_until
from tests.system.examples.example_app import App

PART = 64 * 1024

SLOWLY = """(rate) => {
    const make = incoming.Uploader;
    incoming.Uploader = (...given) => Object.assign(make(...given), { max_rate: rate });
}"""
BACKEND = ROOT / "examples" / "3-object-storage" / "backend.py"
TYPE = "video/x-matroska"


class ObjectExample(App):
    """Example 3, which starts a server first, and ends it when it gets SIGTERM."""

    START_TIMEOUT = 60.0

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(BACKEND), "--address", "127.0.0.1"]

    def stop(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


StartExample = Callable[[str], ObjectExample]


@pytest.fixture
def start_example(ceph: CephCluster, tmp_path: Path) -> Iterator[StartExample]:
    """Function that starts the example with a bucket of this name, which need not exist."""
    with ExitStack() as running:

        def start(bucket: str) -> ObjectExample:
            app = ObjectExample(tmp_path / "app")
            while free_port_after(app.port) is None:
                app.port = free_port()
            app.environment = {
                "AWS_ACCESS_KEY": ACCESS_KEY,
                "AWS_SECRET": SECRET_KEY,
                "BUCKET": bucket,
                "ENDPOINT": ceph.url,
                "MIME_TYPE": TYPE,
                "DATABASE_URL": "sqlite:///list.db",
                "PORT": str(app.port),
                "CHUNK_SIZE": str(PART),
            }
            return running.enter_context(app)

        yield start


def free_port_after(port: int) -> int | None:
    """Return the next port if nobody listens there: the example's server has it."""
    with socket.socket() as probe:
        return None if probe.connect_ex(("127.0.0.1", port + 1)) == 0 else port + 1


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "größer & länger.mkv", 40 * PART + 77)


def choose(page: Page, file: KnownFile) -> None:
    page.set_input_files("#input_file", file.path)


def progress(page: Page) -> float:
    return float(page.evaluate("document.getElementById('stats_progress_bar').value"))


def test_a_file_is_sent_straight_to_the_bucket_and_can_be_downloaded(
    start_example: StartExample, ceph: CephCluster, page: Page, file: KnownFile
) -> None:
    """Also after the page was closed in the middle: the same file continues with the same ticket."""
    bucket = f"example-{time.time_ns()}"
    app = start_example(bucket)
    page.goto(app.url)
    page.evaluate(SLOWLY, 8 * PART)
    choose(page, file)
    wait_until(lambda: progress(page) > 0.05, "some bytes")
    assert len(ceph.uploads(bucket)) == 1

    page.reload()
    expect(page.locator("#log")).to_contain_text(f"choose {file.path.name} again")
    choose(page, file)
    expect(page.locator("#output_finished")).to_be_visible(timeout=60_000)
    log = page.locator("#log").inner_text()
    assert "continuing an earlier upload" in log
    assert "asking the app for a ticket" not in log
    assert "(direct)" in log

    [key] = ceph.objects(bucket)
    assert ceph.read(bucket, key) == file.read(0, file.size)
    assert ceph.s3.head_object(Bucket=bucket, Key=key)["ContentType"] == TYPE
    assert ceph.uploads(bucket) == {}
    page.reload()
    link = page.locator("#uploaded_files_list a")
    expect(link).to_have_text(file.path.name)
    answer = requests.get(f"{app.url}/{link.get_attribute('href')}", timeout=30)
    assert answer.content == file.read(0, file.size)
    assert answer.url.startswith(ceph.url)
    assert answer.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''gr%C3%B6%C3%9Fer")
    assert (app.directory / "list.db").is_file()


def test_a_cancelled_upload_leaves_nothing(
    start_example: StartExample, ceph: CephCluster, page: Page, file: KnownFile
) -> None:
    bucket = ceph.new_bucket()
    app = start_example(bucket)
    rules = ceph.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert [rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] for rule in rules] == [30], "as it was"
    page.goto(app.url)
    page.evaluate(SLOWLY, 4 * PART)
    choose(page, file)
    wait_until(lambda: progress(page) > 0.02, "some bytes")
    page.click("#button_cancel")
    wait_until(lambda: "was cancelled" in app.log, "the callback")
    wait_until(lambda: not ceph.uploads(bucket), "the multipart upload to be aborted")
    assert ceph.objects(bucket) == {}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"BUCKET": ""}, "BUCKET"),
        ({"AWS_SECRET": ""}, "AWS_ACCESS_KEY and AWS_SECRET are not set"),
        ({"AWS_SECRET": "another"}, "SignatureDoesNotMatch|AccessDenied|403"),
        ({"ENDPOINT": "http://127.0.0.1:9"}, "check ENDPOINT"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_a_line(
    ceph: CephCluster, tmp_path: Path, changes: dict[str, str], line: str
) -> None:
    given = {"AWS_ACCESS_KEY": ACCESS_KEY, "AWS_SECRET": SECRET_KEY, "BUCKET": "some-bucket", "ENDPOINT": ceph.url}
    environment = {**os.environ, **given, **changes, "PORT": str(free_port())}
    command = [sys.executable, str(BACKEND)]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert any(word in last for word in line.split("|")), last
