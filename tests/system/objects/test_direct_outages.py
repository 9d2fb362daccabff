"""A real Ceph that is away, and URLs that are out of date, while browsers send to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ceph_cluster import CephCluster, Gateway
from tests.support.known_files import KnownFile, make_file
from tests.support.patched_server import patched
from tests.support.waiting import wait_until
from tests.system.objects.conftest import StartBench
from tests.system.objects.direct_bench import PART, transports

SIZE = 32 * PART + 777

both = pytest.mark.parametrize("engine", ["chromium", "firefox"])


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "file.bin", SIZE)


@pytest.fixture
def gateway(ceph: CephCluster) -> Iterator[Gateway]:
    """One that a test may end."""
    gateway = ceph.start_gateway()
    yield gateway
    gateway.kill()


@both
def test_the_store_is_away_for_a_while(
    start_bench: StartBench, ceph: CephCluster, gateway: Gateway, file: KnownFile
) -> None:
    """For longer than the server tries, which is 30 seconds otherwise."""
    bucket = ceph.new_bucket()
    timeout = patched(storage__s3__requests__retrying__RETRY_TIMEOUT=1.0)
    bench = start_bench(gateway.url, bucket, lambda key: ceph.read(bucket, key), **timeout)
    ceph.allow(bucket, [bench.app.origin])
    failures = bench.count_failures(gateway.url)
    upload = bench.upload(file).start_and_hold(4 * PART)
    acked = upload.now.bytes_acked
    gateway.kill()
    upload.set("max_rate", 0)
    wait_until(failures, "parts that nobody takes")
    upload.wait_for(lambda now: not now.connected, "an error of the server, which cannot look", 60)
    gateway.start()
    upload.wait_until_finished()
    assert min(moment.bytes_acked for moment in upload.moments[-20:]) >= acked, "nothing was lost"
    assert [moment.transport for moment in upload.moments if moment.connected][-2] == "direct"
    bench.assert_received(file)


@both
def test_urls_that_are_out_of_date_are_signed_anew(start_bench: StartBench, ceph: CephCluster, file: KnownFile) -> None:
    """The page's clock has slept: it believes that they are valid, and the store does not."""
    bucket = ceph.new_bucket()
    short = patched(storage__s3__parts__direct__SIGNED_FOR=4.0)
    bench = start_bench(ceph.url, bucket, lambda key: ceph.read(bucket, key), **short)
    ceph.allow(bucket, [bench.app.origin])
    failures = bench.count_failures(ceph.url)
    upload = bench.upload(file).start_and_hold(4 * PART)
    wait_until(failures, "a URL whose time is over")
    upload.set("max_rate", 0)
    upload.wait_until_finished()
    assert "websocket" not in transports(upload)
    bench.assert_received(file)
