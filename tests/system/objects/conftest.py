"""Fixtures: browsers, and an application whose files are objects."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.browser_tab import Tab
from tests.support.ceph_cluster import CephCluster
from tests.support.incoming_server import IncomingServer
from tests.support.scripted_s3 import ScriptedS3
from tests.system.engines.conftest import OpenTab, open_tab
from tests.system.objects.direct_bench import PART, DirectBench, ObjectApp
from tests.system.objects.object_bench import store_option

__all__ = ["open_tab"]

StartBench = Callable[..., DirectBench]


@pytest.fixture
def engine() -> str:
    """The browser of `tab`; tests in several have a parameter of this name."""
    return "chromium"


@pytest.fixture
def tab(open_tab: OpenTab, engine: str) -> Iterator[Tab]:
    """A tab of that browser, which all tests of a module share."""
    tab = open_tab(engine)
    yield tab
    tab.goto("about:blank")


@pytest.fixture
def start_bench(start_server: StartServer, tab: Tab) -> Iterator[StartBench]:
    """Function that starts a server for the store at a URL, an application, and its page; `how` goes to the server."""
    apps: list[ObjectApp] = []

    def start(url: str, bucket: str, read: Callable[[str], bytes], *options: str, **how: Any) -> DirectBench:
        option = store_option(url, bucket, part_size=PART, direct="true")
        server: IncomingServer = start_server(option, "--dest-types=file,s3", *options, **how)
        app = ObjectApp(server.base_url, read)
        app.start()
        apps.append(app)
        return DirectBench(server, app, tab, bucket)

    yield start
    for app in apps:
        app.release()
        app.stop()


@pytest.fixture
def bench(start_bench: StartBench, ceph: CephCluster) -> DirectBench:
    """One on Ceph, whose bucket lets the application's pages PUT."""
    bucket = ceph.new_bucket()
    bench = start_bench(ceph.url, bucket, lambda key: ceph.read(bucket, key))
    ceph.allow(bucket, [bench.app.origin])
    return bench


@pytest.fixture
def store() -> Iterator[ScriptedS3]:
    """One that fails on command."""
    with ScriptedS3() as scripted:
        yield scripted


def on_scripted(store: ScriptedS3, start_bench: StartBench, *options: str) -> DirectBench:
    """Start one on a new bucket of a scripted store, which lets the application's pages PUT."""
    bucket = store.new_bucket()
    bench = start_bench(store.url, bucket, lambda key: store.objects(bucket)[key], *options)
    store.buckets[bucket].origins = (bench.app.origin,)
    return bench
