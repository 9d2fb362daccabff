"""Slow lines that are cut, servers that are killed, stores that are away: the object is whole, promises are kept."""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.app_stub import AppStub
from tests.support.ceph_cluster import CephCluster
from tests.support.fault_proxy import FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.scripted_s3 import ERROR_IN_200, LOST, Fault, ScriptedS3
from tests.support.upload_client import PUT, WEBSOCKET, UploadClient
from tests.support.waiting import wait_until
from tests.system.objects.object_bench import ObjectBench, store_option

KIB = 1024
CONTENT = random.Random(61).randbytes(700 * KIB)
OPTIONS = ("--workers", "2", "--park-after", "1s")


def sending(client: UploadClient) -> "Callable[[], str]":
    """Let the client send on a thread; the result waits for its end."""
    executor = ThreadPoolExecutor(1)
    future = executor.submit(lambda: asyncio.run(client.run()))

    def result() -> str:
        state = future.result(timeout=100)
        executor.shutdown()
        return state

    return result


@pytest.mark.parametrize("way", [WEBSOCKET, PUT])
def test_a_slow_line_that_is_cut_again_and_again_finishes(
    way: str, ceph: CephCluster, start_server: Callable[..., IncomingServer], app_stub: AppStub,
    start_proxy: Callable[..., FaultProxy],
) -> None:  # fmt: skip
    """A part would take longer than any connection lasts."""
    bucket = ceph.new_bucket()
    server = start_server(store_option(ceph.url, bucket, part_size="128KiB"), *OPTIONS)
    bench = ObjectBench(server, app_stub)
    proxy = start_proxy(server.port)
    proxy.limit(250 * KIB)
    proxy.cut_after(90 * KIB, times=7)
    ticket = bench.new_upload(removeFileWhenFinished="no")
    chunk = 48 * KIB if way == WEBSOCKET else 350 * KIB  # a PUT has a connection of its own
    client = UploadClient(proxy.port, ticket, CONTENT, way, chunk=chunk, window=3)
    assert sending(client)() == "finished"
    assert client.broken == []
    assert proxy.counters.cut >= (5 if way == WEBSOCKET else 2)
    assert ceph.read(bucket, f"incoming/{ticket}") == CONTENT
    wait_until(lambda: ceph.objects(bucket) == {f"incoming/{ticket}": len(CONTENT)}, "nothing being parked")
    assert ceph.uploads(bucket) == {}


def test_servers_and_gateways_that_are_killed_lose_nothing_that_was_acknowledged(
    ceph: CephCluster, start_server: Callable[..., IncomingServer], app_stub: AppStub
) -> None:
    bucket, gateway = ceph.new_bucket(), ceph.start_gateway()
    try:
        server = start_server(store_option(gateway.url, bucket, part_size="64KiB"), *OPTIONS)
        server.expect_noise("object store s3|503|callback")
        bench = ObjectBench(server, app_stub)
        ticket = bench.new_upload(removeFileWhenFinished="no")
        client = UploadClient(server.port, ticket, CONTENT, chunk=32 * KIB, window=4, rate=200 * KIB)
        state = sending(client)
        for number in (1, 2, 3):
            wait_until(lambda: client.acked.size > number * 150 * KIB, "progress", 60)  # noqa: B023
            if number == 2:
                gateway.kill()
                gateway.start()
            else:
                server.restart(kill=True)
        assert state() == "finished"
    finally:
        gateway.kill()
    assert client.broken == []
    assert ceph.read(bucket, f"incoming/{ticket}") == CONTENT


def test_a_store_that_is_busy_and_loses_answers_gets_the_object(
    start_server: Callable[..., IncomingServer], app_stub: AppStub
) -> None:
    with ScriptedS3() as s3:
        s3.new_bucket()
        server = start_server(store_option(s3.url, "bucket", part_size="64KiB"), *OPTIONS)
        server.expect_noise("object store s3")
        bench = ObjectBench(server, app_stub)
        ticket = bench.new_upload(removeFileWhenFinished="no")
        s3.fail("UploadPart", Fault(after=20_000), times=2)
        s3.fail("UploadPart", LOST, times=2)
        s3.fail("CompleteMultipartUpload", ERROR_IN_200)
        s3.fail("CompleteMultipartUpload", LOST)
        s3.fail_for(3.0, "*")
        client = UploadClient(server.port, ticket, CONTENT, chunk=32 * KIB)
        assert sending(client)() == "finished"
        assert client.broken == []
        assert s3.pending == 0
        assert s3.objects() == {f"incoming/{ticket}": CONTENT}
