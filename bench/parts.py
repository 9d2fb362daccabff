"""The parts of the benchmark: what each runs, in which turns. How one thing is measured is in the modules they name.

Clients take turns, in another order each round. Each part returns its results, a dictionary for each measurement.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import random
import resource
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import browser
import direct
import objects
import price
import scale
import small
import throughput
import tickets
from line import Line, stretched
from servers import BENCH, Servers

T = TypeVar("T")

RESULTS = BENCH / "results"
MIB = 1 << 20
SEGMENT = 1448
"""Bytes of data in a TCP segment with timestamps, on a line of 1,500-byte packets."""
DIRECT_LINE = Line(100, 100, 0.1)
LINES = [Line(100, rtt, loss) for rtt in (20, 100, 200) for loss in (0, 0.1, 0.5)]


def say(text: str) -> None:
    """Tell how far the benchmark is."""
    print(text, flush=True)


def source(directory: Path, size: int) -> tuple[Path, str]:
    """Create a file of random bytes; return it and its SHA-256."""
    path = directory / f"source-{size}.bin"
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    return path, browser.digest(path)


@contextmanager
def scratch(told: argparse.Namespace) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=told.directory) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def line_part(told: argparse.Namespace) -> list[dict[str, Any]]:
    """Chromium at the near end of a simulated wide-area line, the servers at the far end.

    Results of earlier runs on other lines stay: each line is compared within one run.
    """
    lines = told.line or LINES
    names = {(line.rtt, line.loss) for line in lines}
    rows = [row for row in earlier("line") if (row["rtt"], row["loss"]) not in names]
    sizes = [told.line_size * MIB] if told.line_same_size else line_sizes(told.line_size)
    with scratch(told) as directory:
        files = {size: source(directory, size) for size in sizes}
        for number, line in enumerate(lines):
            place = directory / str(number)
            place.mkdir()
            with stretched(line) as ends:
                servers = Servers(ends.far_address, place, ends.far_command(), hosts=ends.far_hosts)
                with servers.running(), browser.chromium(ends.near_command()) as chromium:
                    clients = [one for one in browser.clients(servers) if one in (told.client or [one])]
                    for round_number in range(told.rounds):
                        for client in shuffled(clients, round_number):
                            path, digest = files[line_size(line, client, told.line_seconds, sizes)]
                            done = browser.upload(chromium, servers, client, path, digest)
                            rows.append({"rtt": line.rtt, "loss": line.loss, **asdict(done), "rate": done.rate})
                            say(f"{line.name}: {client} {done.rate:.2f} MB/s")
    return rows


def earlier(part: str) -> list[dict[str, Any]]:
    """Return the results of this part's last run, if any."""
    path = RESULTS / f"{part}.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    return rows


def line_named(text: str) -> Line:
    """`RTT,LOSS` in milliseconds and percent. Raises ArgumentTypeError unless it is one of the lines."""
    names = {f"{line.rtt:g},{line.loss:g}": line for line in LINES}
    if text not in names:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {' '.join(names)}")
    return names[text]


def shuffled(ways: Sequence[T], number: int) -> list[T]:
    """Return the clients in another order each round, the same in every run, so that the order does not favour one."""
    return random.Random(number).sample(ways, len(ways))


def line_sizes(most: int) -> list[int]:
    """Return the sizes of the files for the line: powers of two from 32 MiB, and finally `most` MiB.

    Smaller ones would measure a connection before its first losses. With 64 MiB at least, three rounds of the nine
    lines would take four hours in place of two.
    """
    return [*(MIB << power for power in range(5, 20) if 1 << power < most), most * MIB]


def line_size(line: Line, client: str, seconds: float, sizes: Sequence[int]) -> int:
    """Return the smallest of `sizes` that keeps this client busy for about the wanted time.

    The rate of a connection on a line with losses does not depend on the size of the file (Mathis et al. 1997).
    """
    capacity = line.rate * 1e6 / 8
    single = capacity if not line.loss else 1.22 * SEGMENT / (line.rtt / 1000 * math.sqrt(line.loss / 100))
    expected = min(capacity, single * browser.CONNECTIONS[client]) * seconds
    return next((size for size in sizes if size >= expected), sizes[-1])


def browser_part(told: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare the same clients over loopback, where the line is no limit."""
    rows = []
    with scratch(told) as directory:
        path, digest = source(directory, told.size * MIB)
        with Servers("127.0.0.1", directory).running() as servers, browser.chromium() as chromium:
            clients = browser.clients(servers)
            for client in clients:  # the first use of files, programs and memory is slower
                browser.upload(chromium, servers, client, path, digest)
            for number in range(told.rounds):
                for client in shuffled(clients, number):
                    done = browser.upload(chromium, servers, client, path, digest)
                    rows.append({**asdict(done), "rate": done.rate})
                    say(f"loopback: {client} {done.rate:.0f} MB/s, client {done.client_cpu:.2f} s CPU")
    return rows


def small_part(told: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare programs and pages that send many small files, over loopback."""
    rows = []
    with scratch(told) as directory, contextlib.ExitStack() as stack:
        files = {load: load.make(directory / f"source-{load.size}") for load in small.LOADS}
        servers = stack.enter_context(Servers("127.0.0.1", directory).running())
        chromium = stack.enter_context(browser.chromium())
        ways = [way for way, how in {**small.PROGRAMS, **small.PAGES}.items() if how.server in servers.pids]
        for load, paths in files.items():
            for number in range(told.rounds):
                for way in shuffled(ways, number):
                    if way in small.PROGRAMS:
                        done = small.send(servers, way, load, paths)
                    else:
                        done = small.send_from_page(chromium, servers, way, load, paths)
                    rows.append(asdict(done))
                    say(f"small: {way}, {load.size} bytes: {done.rate:.0f} files/s")
    return rows


def server_part(told: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the cost of a GiB for each server, and for Incoming without its extra `fast`."""
    rows = []
    data = memoryview(os.urandom(told.size * MIB))
    digest = hashlib.sha256(data).hexdigest()
    with scratch(told) as directory, contextlib.ExitStack() as stack:
        servers = stack.enter_context(Servers("127.0.0.1", directory).running())
        slower = directory / "slower"
        slower.mkdir()
        plain = stack.enter_context(Servers("127.0.0.1", slower, fast=False).product())
        ways = list(price.ways(servers, plain, data))
        for way in ways:
            way.send().unlink()
        for number in range(told.rounds):
            for way in shuffled(ways, number):
                paid = price.pay(way, len(data), digest)
                rows.append(asdict(paid))
                say(f"server: {paid.way} {paid.cpu_per_gib:.2f} CPU-s/GiB")
    return rows


def scale_part(told: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure many slow uploads at once, with one worker and with two."""
    rows: list[dict[str, Any]] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for workers in (1, 2):
        for uploads in (1, 100, 1000):
            with scratch(told) as directory, Servers("127.0.0.1", directory, workers=workers).running() as servers:
                measured = scale.crowd(servers, uploads)
            rows.append({"workers": workers, **asdict(measured)})
            say(f"{workers} workers, {uploads} uploads: acks within {measured.latency_99:.3f} s (99 %)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return rows


def tickets_part(told: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure tickets with an empty database and one of a million tombstones."""
    rows = []
    for tombstones in (0, 1_000_000):
        with scratch(told) as directory:
            measured = tickets.desk(Servers("127.0.0.1", directory), tombstones)
        rows.append(asdict(measured))
        say(f"{tombstones} tombstones: {measured.rate:.0f} new_upload a second, start {measured.start:.2f} s")
    return rows


def throughput_part(told: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one worker and two in turn, while both servers run."""
    rows = []
    with scratch(told) as directory, contextlib.ExitStack() as stack:
        files = {size: source(directory, size * MIB) for size in {way.size for way in throughput.WAYS.values()}}
        running = []
        for workers in (1, 2):
            place = directory / str(workers)
            place.mkdir()
            servers = Servers("127.0.0.1", place, workers=workers)
            running.append(stack.enter_context(servers.running()))
        for _ in range(told.rounds):
            for way, shape in throughput.WAYS.items():
                for servers in running:
                    done = throughput.rush(servers, way, *files[shape.size])
                    rows.append(asdict(done))
                    say(f"{way}, {done.workers} workers: {done.rate:.0f} MB/s, {100 * done.idle:.0f} % idle")
    return rows


def objects_part(told: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure files that become objects, and the memory of many slow ones."""
    rows: list[dict[str, Any]] = []
    for dest_type in ("file", "s3-sha256"):
        with scratch(told) as directory:
            slow = objects.crowd(directory, told.objects_uploads, dest_type)
        rows.append({"dest_type": dest_type, **asdict(slow)})
        say(f"objects: {slow.uploads} slow uploads to {dest_type}: {slow.memory / 1e6:.0f} MB")
    data = memoryview(os.urandom(told.objects_size * MIB))
    digest = hashlib.sha256(data).hexdigest()
    with scratch(told) as directory, objects.servers("127.0.0.1", directory).running() as servers:
        ways = list(objects.ways(servers, data))
        for way in ways:
            objects.pay(servers, way, len(data), digest)
        for number in range(told.rounds):
            for way in shuffled(ways, number):
                paid = objects.pay(servers, way, len(data), digest)
                rows.append(asdict(paid))
                say(f"objects: {paid.way} {paid.cpu_per_gib:.2f} CPU-s/GiB, {paid.requests_per_gib:.0f} requests/GiB")
    return rows


def direct_part(told: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare pages that send straight to an object store: over loopback, and over a long line with losses."""
    return direct_rows(told, None) + direct_rows(told, DIRECT_LINE)


def direct_rows(told: argparse.Namespace, line: Line | None) -> list[dict[str, Any]]:
    rows = []
    name = line.name if line else direct.LOOPBACK
    sizes = line_sizes(told.line_size) if line else [64 * MIB, told.direct_size * MIB]
    with scratch(told) as directory, contextlib.ExitStack() as stack:
        files = {size: source(directory, size) for size in sizes}
        ends = stack.enter_context(stretched(line)) if line else None
        found, chromium = stack.enter_context(direct.running(directory, ends))
        for client in direct.CLIENTS if line is None else ():  # the first use of programs is slower
            direct.upload(found, chromium, client, name, *files[sizes[0]])
        for number in range(told.rounds):
            for client in shuffled(direct.CLIENTS, number):
                size = line_size(line, client, told.line_seconds, sizes) if line else sizes[-1]
                sent = direct.upload(found, chromium, client, name, *files[size])
                rows.append({**asdict(sent), "rate": sent.rate})
                say(f"{name}: {client} {sent.rate:.1f} MB/s, server {sent.server_cpu_per_gib:.3f} CPU-s/GiB")
    return rows
