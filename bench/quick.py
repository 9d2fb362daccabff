"""Measure five ratios in a few minutes, to see a regression before it lands. `make bench QUICK=1`.

Each is a figure of ours by that of other software, both measured in turn in the same run; CPU time where that is what
counts, because it depends least on what else the machine does.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import baseline
import browser
import price
import small
from baseline import Row
from servers import Servers

MIB = 1 << 20
SIZE = 128 * MIB
"""Bytes of a large file."""

ROUNDS = 3
LOAD = small.Load(200, 10_000)

WEBSOCKET = "WebSocket, frames as Chromium's"
PROGRAM, PROGRAM_RIVAL = (
    "program, PUT, tickets in batches, 16 at once",
    "program, POST and PATCH, @tus/server, 16 at once",
)
PAGE, PAGE_RIVAL = "page, Incoming!!, 16 at once", "page, Uppy, @tus/server, 20 at once (default)"


def run(directory: str | None, *, keep: bool, say: Callable[[str], None]) -> int:
    """Measure and compare; return 1 if a ratio is worse than the committed one. `keep` records these instead."""
    machine = baseline.machine_type()
    before = baseline.load(machine)
    with tempfile.TemporaryDirectory(dir=directory) as place:
        Path(place).chmod(0o755)
        rows = measure(Path(place) / "first")
        worse = [] if keep or before is None else baseline.regressions(rows, before)
        if worse and before is not None:
            say(f"{len(worse)} of {len(rows)} ratios are worse; measuring once more")
            rows = best(rows, measure(Path(place) / "second"), before)
            worse = baseline.regressions(rows, before)
    say(machine)
    say(baseline.report(rows, before or {}))
    if keep:
        baseline.record(machine, rows)
        say(f"recorded in {baseline.BASELINE.name}")
    elif before is None:
        say("nothing is committed for this type of machine: BENCH_OPTIONS=--record writes it to bench/baseline.json")
    for row in worse:
        say(f"worse by more than {baseline.TOLERANCE:.0%}: {row.name}")
    return 1 if worse else 0


def best(first: list[Row], second: list[Row], before: dict[str, float]) -> list[Row]:
    """Return of each row the better of two measurements: what else the machine does makes only worse ones."""

    def better(one: Row, other: Row) -> Row:
        known = before.get(one.name)
        return one if known is None or one.loss(known) <= other.loss(known) else other

    return [better(one, other) for one, other in zip(first, second, strict=True)]


def measure(place: Path) -> list[Row]:
    """Return the five ratios."""
    place.mkdir()
    place.chmod(0o755)
    with Servers("127.0.0.1", place).running() as servers:
        return [*costs(servers), *rates(servers, place)]


def costs(servers: Servers) -> Iterator[Row]:
    """Yield what a GiB costs the server, by PUT as a ratio to nginx, by WebSocket to PUT."""
    data = memoryview(os.urandom(SIZE))
    digest = hashlib.sha256(data).hexdigest()
    names = {WEBSOCKET, "PUT", "nginx DAV PUT"}
    # The second server is only for a way that is not among these.
    ways = [way for way in price.ways(servers, servers, data) if way.name in names]
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for way in ways:
            spent[way.name].append(price.pay(way, SIZE, digest).cpu_per_gib)
    cpu = {name: median(values) for name, values in spent.items()}
    yield Row("server CPU a GiB, PUT / nginx", cpu["PUT"] / cpu["nginx DAV PUT"], more=False)
    yield Row("server CPU a GiB, WebSocket / PUT", cpu[WEBSOCKET] / cpu["PUT"], more=False)


def rates(servers: Servers, place: Path) -> Iterator[Row]:
    """Yield the rates of pages and programs as ratios to those of others."""
    large = place / "large.bin"
    large.write_bytes(os.urandom(SIZE))
    digest = browser.digest(large)
    files = LOAD.make(place / "files")
    found: dict[str, list[float]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        chromium = stack.enter_context(browser.chromium())
        for _ in range(ROUNDS):
            for client in ("incoming-websocket", "tus"):
                found[client].append(browser.upload(chromium, servers, client, large, digest).rate)
            for way in (PROGRAM, PROGRAM_RIVAL):
                found[way].append(small.send(servers, way, LOAD, files).rate)
            for way in (PAGE, PAGE_RIVAL):
                found[way].append(small.send_from_page(chromium, servers, way, LOAD, files).rate)
    rate = {name: median(values) for name, values in found.items()}
    yield Row("browser, a large file, WebSocket / @tus/server", rate["incoming-websocket"] / rate["tus"], more=True)
    yield Row("program, small files / @tus/server", rate[PROGRAM] / rate[PROGRAM_RIVAL], more=True)
    yield Row("page, small files / Uppy with @tus/server", rate[PAGE] / rate[PAGE_RIVAL], more=True)
