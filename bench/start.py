"""Measure how soon an upload is fast: `python bench/start.py [RTT,LOSS ...]` prints when it reaches 80 % of its rate.

Chromium sends over a line of bench/line.py. What arrives at its far end is counted there each 100 ms, with all headers
and repeated segments, so that neither acknowledgements nor the page's own figures are believed. The final rate is that
from LATER seconds on to the end. No rival is started. Needs root and Chromium.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

import browser
from line import Ends, Line, stretched
from servers import Servers

LINES = (Line(100, 20, 0.0), Line(100, 20, 0.5), Line(100, 200, 0.0), Line(100, 200, 0.5))
CLIENT = "incoming-websocket"
ROUNDS = 3
SECONDS = 30.0
"""Duration of an upload at the line's rate."""

LATER = 12.0
WINDOW = 1.0
"""Seconds that a rate is measured over."""

_SAMPLER = """
import re, time
from pathlib import Path
while True:
    received = re.search(r"line0: *(\\d+)", Path("/proc/self/net/dev").read_text())[1]
    print(time.monotonic(), received, flush=True)
    time.sleep(0.1)
"""

Samples = list[tuple[float, int]]


@contextlib.contextmanager
def sampled(ends: Ends, directory: Path) -> Iterator[Samples]:
    """Yield a list that has, after the block, times by the monotonic clock and bytes that have arrived until then."""
    samples: Samples = []
    path = directory / "samples"
    with path.open("w") as file:
        process = subprocess.Popen(ends.far_command(sys.executable, "-c", _SAMPLER), stdout=file)
        try:
            yield samples
        finally:
            process.kill()
            process.wait()
    for text in path.read_text().splitlines():
        if len(fields := text.split()) == 2:
            samples.append((float(fields[0]), int(fields[1])))


def rates(samples: Samples, began: float, ended: float) -> list[tuple[float, float]]:
    """Return seconds since `began`, and the MB/s of the WINDOW before each."""
    inside = [(at - began, count) for at, count in samples if began - WINDOW <= at <= ended]
    found, first = [], 0
    for at, count in inside:
        while inside[first + 1][0] <= at - WINDOW:
            first += 1
        earlier, before = inside[first]
        if at > max(0.0, earlier):
            found.append((at, (count - before) / (at - earlier) / 1e6))
    return found


def final(samples: Samples, began: float, ended: float) -> float:
    """Return the MB/s from LATER seconds on, without the last two, in which connections end one after the other."""
    steps = [
        (count - before) / (at - earlier) / 1e6
        for (earlier, before), (at, count) in pairwise(samples)
        if began + LATER <= earlier and at <= ended - 2
    ]
    return mean(steps)


def measure(line: Line, directory: Path) -> None:
    size = int(line.rate * 1e6 / 8 * SECONDS)
    source = directory / "source"
    source.write_bytes(os.urandom(size))
    digest = browser.digest(source)
    with stretched(line) as ends:
        servers = Servers(ends.far_address, directory, ends.far_command())
        with contextlib.ExitStack() as stack:
            stack.enter_context(servers.product())
            servers.start_pages(stack, rivals=False)
            chromium = stack.enter_context(browser.chromium(ends.near_command()))
            reached, finals = [], []
            for _ in range(ROUNDS):
                with sampled(ends, directory) as samples:
                    done = browser.upload(chromium, servers, CLIENT, source, digest)
                began = done.ended - done.seconds
                rate = final(samples, began, done.ended)
                finals.append(rate)
                reached.append(next(at for at, now in rates(samples, began, done.ended) if now >= 0.8 * rate))
    each = ", ".join(f"{at:.1f}" for at in reached)
    print(f"| {line.name} | {median(finals):.1f} | {median(reached):.1f} ({each}) |", flush=True)


def main() -> int:
    lines = [Line(100, *map(float, text.split(","))) for text in sys.argv[1:]] or LINES
    print("| line | final MB/s | seconds to 80 %: median (each) |\n|---|---|---|")
    for line in lines:
        with tempfile.TemporaryDirectory() as directory:
            Path(directory).chmod(0o755)
            measure(line, Path(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
