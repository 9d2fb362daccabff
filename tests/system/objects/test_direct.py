"""Parts go from the browser straight to a real Ceph, of another origin, with URLs that the server signs."""

from pathlib import Path

import pytest

from tests.support.ceph_cluster import CephCluster
from tests.support.known_files import KnownFile, make_file
from tests.support.waiting import wait_until
from tests.system.e2e.upload_page import UploadPage
from tests.system.engines.conftest import OpenTab
from tests.system.objects.conftest import StartBench
from tests.system.objects.direct_bench import PART, DirectBench, transports

SIZE = 48 * PART + 777

both = pytest.mark.parametrize("engine", ["chromium", "firefox"])


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "file.bin", SIZE)


@both
def test_a_file_goes_straight_to_the_object_store(bench: DirectBench, file: KnownFile) -> None:
    upload = bench.upload(file).start()
    upload.wait_until_finished()
    assert transports(upload) == {"direct"}
    bench.assert_received(file)


@both
def test_a_pause_stops_the_parts_and_resuming_sends_the_rest(bench: DirectBench, file: KnownFile) -> None:
    upload = bench.upload(file).start_and_hold(4 * PART)
    upload.pause("pause")
    acked = upload.wait_for(lambda now: now.paused, "the pause").bytes_acked
    assert 0 < acked < SIZE
    upload.set("max_rate", 0)
    upload.pause("unpause")
    upload.wait_until_finished()
    bench.assert_received(file)


@both
def test_a_cancelled_upload_leaves_nothing(bench: DirectBench, ceph: CephCluster, file: KnownFile) -> None:
    upload = bench.upload(file).start_and_hold(4 * PART)
    upload.cancel("wrong film")
    assert upload.wait_until_over().cancelled
    wait_until(lambda: not ceph.uploads(bench.bucket), "the multipart upload to be aborted")
    assert ceph.objects(bench.bucket) == {}


@both
def test_an_upload_continues_after_the_page_was_loaded_again(bench: DirectBench, file: KnownFile) -> None:
    acked = bench.upload(file).start_and_hold(8 * PART).now.bytes_acked
    bench.page.reload()
    upload = bench.upload(file, bench.ticket).start()
    assert upload.wait_for_bytes(1).bytes_acked >= acked
    upload.wait_until_finished()
    bench.assert_received(file)


def test_what_the_store_has_of_a_page_that_left_is_not_sent_again(
    bench: DirectBench, ceph: CephCluster, file: KnownFile
) -> None:
    """The tab closes between the PUT of a part and the server's look at it."""
    upload = bench.upload(file).start_and_hold(2 * PART)
    bench.page.tab.goto("about:blank")
    [(upload_id, key)] = ceph.uploads(bench.bucket).items()
    where = {"Bucket": bench.bucket, "Key": key, "UploadId": upload_id}
    ceph.s3.upload_part(**where, PartNumber=20, Body=file.read(19 * PART, 20 * PART))
    bench.page.open()
    before = {part["PartNumber"]: part["LastModified"] for part in ceph.s3.list_parts(**where)["Parts"]}
    upload = bench.upload(file, bench.ticket).start_and_hold((len(before) + 1) * PART)
    after = {part["PartNumber"]: part["LastModified"] for part in ceph.s3.list_parts(**where)["Parts"]}
    assert {number: after[number] for number in before} == before
    upload.set("max_rate", 0)
    upload.wait_until_finished()
    bench.assert_received(file)


@both
def test_without_a_cors_rule_the_rest_goes_through_the_server(
    start_bench: StartBench, ceph: CephCluster, file: KnownFile
) -> None:
    bucket = ceph.new_bucket()
    bench = start_bench(ceph.url, bucket, lambda key: ceph.read(bucket, key))
    upload = bench.upload(file).start()
    upload.wait_until_finished()
    assert transports(upload) <= {"websocket"}
    bench.assert_received(file)


def test_a_rule_that_is_removed_meanwhile_costs_no_more_than_the_parts_on_their_way(
    bench: DirectBench, ceph: CephCluster, file: KnownFile
) -> None:
    upload = bench.upload(file).start_and_hold(4 * PART)
    ceph.allow(bench.bucket, ["http://other.example"])
    upload.wait_for(lambda now: now.transport == "websocket", "the change of the transport")
    acked = upload.now.bytes_acked
    assert acked >= 4 * PART
    upload.set("max_rate", 0)
    upload.wait_until_finished()
    bench.assert_received(file)


@both
def test_an_upload_that_the_store_has_dropped_begins_again(
    bench: DirectBench, ceph: CephCluster, file: KnownFile
) -> None:
    bench.server.expect_noise("WARNING|ERROR")
    upload = bench.upload(file).start_and_hold(4 * PART)
    assert ceph.abort_uploads(bench.bucket) == 1
    upload.set("max_rate", 0)
    upload.wait_until_finished()
    bench.assert_received(file)


@both
def test_the_server_is_away_for_a_while(bench: DirectBench, file: KnownFile) -> None:
    """With WebSockets only: else HTTP may be the first to get through, and parts are direct again some time later."""
    bench.page.open(transport="websocket")
    upload = bench.upload(file).start_and_hold(4 * PART)
    bench.server.kill()
    acked = upload.wait_for(lambda now: not now.connected, "the loss of the server").bytes_acked
    bench.server.restart(kill=True)
    assert upload.wait_for(lambda now: now.transport == "direct", "the server").bytes_acked >= acked
    upload.set("max_rate", 0)
    upload.wait_until_finished()
    assert transports(upload) == {"direct"}
    bench.assert_received(file)


@pytest.mark.parametrize("engine", ["chromium"])
@pytest.mark.parametrize("second", ["firefox"])
def test_another_browser_takes_over(
    bench: DirectBench, open_tab: OpenTab, second: str, ceph: CephCluster, file: KnownFile
) -> None:
    first = bench.upload(file).start_and_hold(4 * PART)
    other = UploadPage(open_tab(second), bench.app, bench.server.host).open()
    upload = other.upload(bench.ticket, file.path).start()
    assert upload.wait_for_bytes().bytes_acked >= 4 * PART
    upload.wait_until_finished()
    assert "direct" in transports(upload)
    assert first.wait_for(lambda now: now.error_code is not None, "the first one to be told").error_code == 204
    bench.assert_received(file)


def test_an_application_can_forbid_it_for_a_ticket(bench: DirectBench, file: KnownFile) -> None:
    upload = bench.upload(file, direct="false").start()
    upload.wait_until_finished()
    assert transports(upload) <= {"websocket"}
    bench.assert_received(file)


@both
def test_the_application_can_limit_the_rate(bench: DirectBench, file: KnownFile) -> None:
    upload = bench.upload(file, maxRate=str(4 * PART)).start()
    upload.wait_for_bytes(PART)
    assert upload.now.bytes_acked < SIZE // 2
    upload.wait_for(lambda now: now.transport == "direct", "parts of their own pace")
    bench.app.cancel_upload(bench.ticket)
    upload.wait_until_over()
