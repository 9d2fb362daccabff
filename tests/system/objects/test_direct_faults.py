"""Faults of an object store that browsers send to, each injected and met: no real store has them on request."""

from pathlib import Path

import pytest

from tests.support.browser_tab import Tab
from tests.support.known_files import KnownFile, make_file
from tests.support.scripted_s3 import BUSY, LOST, STALE, Fault, ScriptedS3
from tests.support.waiting import wait_until
from tests.system.objects.conftest import StartBench, on_scripted
from tests.system.objects.direct_bench import PART, DirectBench, transports

SIZE = 24 * PART + 777


@pytest.fixture
def bench(start_bench: StartBench, store: ScriptedS3) -> DirectBench:
    return on_scripted(store, start_bench)


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "file.bin", SIZE)


@pytest.mark.parametrize(
    "fault", [BUSY, LOST, Fault(403, "AccessDenied"), Fault(after=PART // 2)], ids=["busy", "lost", "expired", "cut"]
)
def test_parts_that_fail_twice_are_sent_straight_all_the_same(
    bench: DirectBench, store: ScriptedS3, file: KnownFile, fault: Fault
) -> None:
    store.fail("UploadPart", fault, times=2)
    upload = bench.upload(file).start()
    upload.wait_until_finished()
    assert store.pending == 0
    assert "direct" in transports(upload)
    bench.assert_received(file)


@pytest.mark.parametrize("engine", ["chromium", "firefox"])
def test_a_store_that_is_busy_for_a_while_is_not_given_up(
    bench: DirectBench, store: ScriptedS3, file: KnownFile
) -> None:
    store.lets_pages_read_errors = True
    upload = bench.upload(file).start_and_hold(2 * PART)
    store.fail_for(60, "UploadPart", BUSY)
    upload.set("max_rate", 0)
    wait_until(lambda: sum(seen.fault == BUSY for seen in store.seen("UploadPart")) > 6, "parts that the store refuses")
    store.heal()
    upload.wait_until_finished()
    assert "websocket" not in transports(upload)
    bench.assert_received(file)


def test_a_list_that_is_late_costs_nothing(bench: DirectBench, store: ScriptedS3, file: KnownFile) -> None:
    upload = bench.upload(file).start_and_hold(2 * PART)
    store.fail("ListParts", STALE, times=2)
    upload.set("max_rate", 0)
    upload.wait_until_finished()
    assert store.pending == 0
    bench.assert_received(file)


IMPORT = """async ([url, host]) => {
    Object.defineProperty(window, "incoming", { value: await import(url), configurable: true, writable: true });
    incoming.set_server_hostname(host);
}"""
COPY = """async (url) => {
    const copy = async (name, change = (text) => text) => {
        const text = change(await (await fetch(new URL(name, url))).text());
        return URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    };
    const transfer = await copy("incoming-transfer.mjs");
    return copy("incoming.mjs", (text) => text.replace("./incoming-transfer.mjs", transfer));
}"""
LOADED = (
    "() => performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/incoming-direct.mjs')).length"
)

both = pytest.mark.parametrize("engine", ["chromium", "firefox"])


def load_module(bench: DirectBench, copied: bool = False) -> Tab:
    """Load the page with the module and without the classic script, which has all inside."""
    tab, url = bench.page.tab, f"{bench.server.base_url}/incoming/0.1/frontend/incoming.mjs"
    tab.goto(f"{bench.app.page_url}?script=data:text/javascript,")
    tab.evaluate(IMPORT, [tab.evaluate(COPY, url) if copied else url, bench.server.host])
    return tab


@both
def test_the_module_loads_what_sends_to_the_store_when_the_server_offers_it(
    bench: DirectBench, file: KnownFile
) -> None:
    tab = load_module(bench)
    assert tab.evaluate(LOADED) == 0
    upload = bench.upload(file).start_and_hold(4 * PART)
    assert transports(upload) == {"direct"}
    assert tab.evaluate(LOADED) == 1
    upload.set("max_rate", 0)
    upload.wait_until_finished()
    bench.assert_received(file)


@both
def test_where_that_cannot_be_loaded_the_file_goes_through_the_server(bench: DirectBench, file: KnownFile) -> None:
    """A copy of the module has nothing beside it but what it loads at once."""
    load_module(bench, copied=True)
    upload = bench.upload(file).start_and_hold(4 * PART)
    assert "direct" not in transports(upload)
    upload.set("max_rate", 0)
    upload.wait_until_finished()
    bench.assert_received(file)
