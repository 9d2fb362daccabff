"""URLs that the server signs for parts are secrets: only the page that holds the ticket ever sees one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.support.known_files import KnownFile, make_file
from tests.support.scripted_s3 import BUSY, SECRET_KEY, Fault, ScriptedS3
from tests.support.tools import ROOT
from tests.system.objects.conftest import StartBench, on_scripted
from tests.system.objects.direct_bench import PART, DirectBench

SIZE = 24 * PART + 777


@pytest.fixture
def bench(start_bench: StartBench, store: ScriptedS3) -> DirectBench:
    return on_scripted(store, start_bench, "--log-level=debug")


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "file.bin", SIZE)


def what_others_see(bench: DirectBench) -> dict[str, str]:
    """Return by its name each text in which operators, applications and users read about the upload."""
    url = bench.server.base_url + "/incoming/0.1"
    pages = (
        "/status",
        "/status/now",
        f"/status/uploads/{bench.ticket}",
        "/metrics",
        f"/frontend/upload/{bench.ticket}",
    )
    seen = {path: requests.get(url + path, timeout=30).text for path in pages}
    seen["log"] = bench.server.log
    seen["callbacks"] = json.dumps([[call.params, dict(call.headers)] for call in bench.app.callbacks], default=str)
    seen["diagnosis"] = json.dumps(bench.page.tab.evaluate("() => uploads.map((one) => one.uploader.diagnosis())"))
    seen["page"] = json.dumps(
        bench.page.tab.evaluate("() => uploads.map((one) => [one.calls, snapshot(one.uploader)])")
    )
    seen["storage of the page"] = json.dumps(bench.page.tab.evaluate("() => ({ ...localStorage, ...sessionStorage })"))
    seen["incoming uploads"] = command(bench, "uploads", "--storage-dir", "STORAGE", "show", bench.ticket)
    seen["incoming doctor"] = command(bench, "doctor", "--config", "CONFIG")
    seen["incoming check"] = command(bench, "check", "store", "s3", "--config", "CONFIG")
    return seen


def command(bench: DirectBench, *words: str) -> str:
    """Return all that a command prints for an operator, and the report that it may write."""
    server = bench.server
    stores = next(option for option in server.options if option.startswith("--object-stores="))
    file = server.storage_dir.with_name("incoming.yaml")
    file.write_text(f"storage_dir: {server.storage_dir}\nobject_stores: {stores.partition('=')[2]}\n")
    given = [word.replace("CONFIG", str(file)).replace("STORAGE", str(server.storage_dir)) for word in words]
    line = [sys.executable, str(ROOT / "incoming.py"), *given]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, cwd=file.parent)
    report = file.with_name("incoming-report.txt")
    return done.stdout + done.stderr + (report.read_text() if report.exists() else "")


def test_signed_urls_are_seen_by_nobody_but_the_page(bench: DirectBench, store: ScriptedS3, file: KnownFile) -> None:
    """Also not in the errors of a store that refuses parts, is busy, cuts the line, or has dropped the upload."""
    bench.server.expect_noise("WARNING|ERROR")
    for fault in (Fault(403, "SignatureDoesNotMatch"), BUSY, Fault(after=PART // 2), Fault(404, "NoSuchUpload")):
        store.fail("UploadPart", fault)
    store.fail("ListParts", Fault(403, "SignatureDoesNotMatch"))
    upload = bench.upload(file).start_and_hold(4 * PART)
    before = what_others_see(bench)
    [bucket] = store.buckets.values()
    bucket.uploads.clear()
    upload.set("max_rate", 0)
    upload.wait_until_finished()
    bench.assert_received(file)
    assert store.pending == 0

    sent = store.seen("UploadPart")
    signatures = {seen.query["X-Amz-Signature"] for seen in sent if "X-Amz-Signature" in seen.query}
    assert len(signatures) > 20
    assert {seen.status for seen in sent} >= {403, 503, 0, 404}
    secrets = {*signatures, SECRET_KEY}
    for when, texts in (("during it", before), ("after it", what_others_see(bench))):
        for name in ("log", "/status/now", "incoming uploads"):
            assert bench.ticket[:8] in texts[name], f"{name} {when} is not about the upload: {texts[name][:500]}"
        for name in ("incoming doctor", "incoming check"):
            assert store.url in texts[name], f"{name} {when} is not about the store: {texts[name][:500]}"
        found = [name for name, text in texts.items() if any(secret in text for secret in secrets)]
        assert found == [], f"{when}: signatures or keys"
        found = [name for name, text in texts.items() if name != "callbacks" and "X-Amz-" in text]
        assert found == [], f"{when}: signed URLs"
