"""doc/object-storage.md followed literally, from an empty Ceph to an object; only hosts and bucket are replaced."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import requests

from tests.conftest import StartServer
from tests.support.app_stub import AppStub
from tests.support.ceph_cluster import ACCESS_KEY, SECRET_KEY, CephCluster
from tests.support.tools import ROOT, require_tool
from tests.system.objects.object_bench import ObjectBench

PAGE = (ROOT / "doc" / "object-storage.md").read_text()
SET_UP = PAGE.split("## Set it up")[1].split("## ")[0]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SET_UP, re.MULTILINE | re.DOTALL)


class Newcomer:
    """Somebody in an empty directory with a shell, who replaces what the page cannot know."""

    def __init__(self, ceph: CephCluster, directory: Path) -> None:
        self.bucket = f"doc-{uuid.uuid4().hex[:12]}"
        self.directory = directory
        self._host = ceph.url.removeprefix("http://")
        self._url = ceph.url
        self._done = ""

    def own(self, text: str) -> str:
        text = text.replace("https://ceph.example.org", self._url).replace("ceph.example.org", self._host)
        text = text.replace('s3="s3cmd', 's3="s3cmd --no-ssl').replace("s3://uploads", f"s3://{self.bucket}")
        text = text.replace("bucket: uploads", f"bucket: {self.bucket}").replace(
            "AWS_ACCESS_KEY_ID=…", f"AWS_ACCESS_KEY_ID={ACCESS_KEY}"
        )
        return text.replace("AWS_SECRET_ACCESS_KEY=…", f"AWS_SECRET_ACCESS_KEY={SECRET_KEY}")

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(self.own(text))

    def run(self, commands: str) -> str:
        """Run them in the one shell of this session, and return what they print. They must not fail."""
        program = f'incoming() {{ "{sys.executable}" "{ROOT}/incoming.py" "$@"; }}'
        script = "\n".join(["set -eu", program, self._done, "echo ---", own := self.own(commands)])
        environment = {**os.environ, "HOME": str(self.directory)}
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self._done += "\n".join(line for line in own.splitlines() if re.match(r"export |s3=", line)) + "\n"
        return done.stdout.partition("---\n")[2]


@pytest.fixture
def newcomer(ceph: CephCluster, tmp_path: Path) -> Newcomer:
    require_tool("s3cmd")
    directory = tmp_path / "newcomer"
    directory.mkdir()
    return Newcomer(ceph, directory)


def test_the_page_leads_from_an_empty_ceph_to_an_object(
    newcomer: Newcomer, ceph: CephCluster, start_server: StartServer, app_stub: AppStub
) -> None:
    user, bucket, check = blocks("sh")
    assert user.startswith("radosgw-admin user create"), "which the cluster of the tests has done"
    newcomer.run(bucket)
    for file, text in zip(("lifecycle.xml", "cors.xml"), blocks("xml"), strict=True):
        newcomer.write(file, text)
        [command] = re.findall(rf"`(\$s3 set\w+ {file} s3://uploads)`", SET_UP)
        newcomer.run(command)
    [rule] = ceph.s3.get_bucket_cors(Bucket=newcomer.bucket)["CORSRules"]
    assert rule == {"AllowedOrigins": ["https://app.example.org"], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}

    [options] = re.findall(r"^    object_stores:\n(?:     .*\n)+", PAGE, re.MULTILINE)
    newcomer.write("incoming.yaml", re.sub("^    ", "", options, flags=re.MULTILINE) + "    direct: true\n")
    found = newcomer.run(check)
    assert "pages of https://app.example.org may PUT parts to this bucket" in found
    assert found.endswith("object store s3: no fault\n")

    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    server = start_server("--config", str(newcomer.directory / "incoming.yaml"), env=keys)
    bench = ObjectBench(server, app_stub)
    ticket = bench.new_upload(removeFileWhenFinished="no")
    assert bench.put(ticket, b"content").status_code == 200
    callback = bench.handed_over(ticket).params
    assert requests.get(callback["url"], timeout=30).content == b"content"
    [shown] = re.findall(r"^    (id=….*)$", PAGE, re.MULTILINE)
    assert {field.partition("=")[0] for field in shown.split("&")} <= set(callback)
    assert callback["filename"] == f"s3://{newcomer.bucket}/incoming/{ticket}"
    assert "WARNING" not in server.log
