"""Write the results of a run as the tables and plots of doc/benchmarks.md: medians, and ratios to a named rival."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cluster_report
import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from tables import Rows, medians, table
from tickets import BACKENDS

DOC = Path(__file__).resolve().parent.parent / "doc"
START, END = "<!-- results: written by make bench -->", "<!-- end of results -->"
NAMES = {
    "incoming-websocket": "Incoming!!, WebSocket",
    "incoming-http": "Incoming!!, HTTP",
    "incoming-http-hosts": "Incoming!!, HTTP, three hosts",
    "incoming-tus": "tus-js-client, Incoming!!",
    "incoming-tus-4": "the same, 4 parts",
    "tus": "tus-js-client, @tus/server",
    "tusd": "tus-js-client, tusd",
    "put": "fetch PUT, nginx",
    "incoming-direct": "Incoming!!, direct",
    "uppy-s3": "Uppy, aws-s3",
}
COLOURS = {
    "incoming-websocket": "#0b6e4f",
    "incoming-http": "#53b58f",
    "incoming-http-hosts": "#2f8f6f",
    "incoming-tus": "#8fbf6a",
    "incoming-tus-4": "#5f8f3a",
    "tus": "#c8553d",
    "tusd": "#e6a08f",
    "put": "#7a8da0",
}
UNCHECKED = "tusd -s3-disable-content-hashes"
OURS, TUS = ("incoming-websocket", "incoming-http"), ("tus", "tusd")


def write(results: Path) -> None:
    """Rewrite the part between the marks in doc/benchmarks.md from bench/results/; other sections stay."""
    page = DOC / "benchmarks.md"
    before, _, rest = page.read_text().partition(START)
    known, _, after = rest.partition(END)
    stood = {text.split(":", 1)[0].lower(): f"### {text.strip()}" for text in known.split("### ")[1:]}
    makers = {
        "line": _line,
        "browser": _browser,
        "small": _small,
        "server": _server,
        "scale": _scale,
        "cluster": cluster_report.cluster,
        "tickets": _tickets,
        "throughput": _throughput,
        "objects": _objects,
        "direct": _direct,
    }
    sections = []
    for part, make in makers.items():
        path = results / f"{part}.json"
        if path.exists():
            sections.append(make(json.loads(path.read_text())["rows"]))
        elif part in stood:
            sections.append(stood[part])
    page.write_text(f"{before}{START}\n\n" + "\n\n".join(sections) + f"\n\n{END}{after}")


def _best(rates: dict[str, float], clients: Iterable[str]) -> float:
    """Return the highest rate among these; runs without tusd have none for it."""
    return max(rates[client] for client in clients if client in rates)


def _ratio(rates: dict[str, float], ours: Iterable[str], others: Iterable[str]) -> str:
    """Return the ratio of the best of each; a run of few clients may have none."""
    own, best = ([rates[client] for client in clients if client in rates] for clients in (ours, others))
    return f"{max(own) / max(best):.2f}" if own and best else "-"


def _line(rows: Rows) -> str:
    rates = medians(rows, lambda row: (row["rtt"], row["loss"], row["client"]), "rate")
    sizes = medians(rows, lambda row: (row["rtt"], row["loss"], row["client"]), "bytes")
    places = sorted({(rtt, loss) for rtt, loss, _ in rates})
    clients = [client for client in NAMES if any(name == client for *_, name in rates)]
    lines = []
    for rtt, loss in places:
        here = {client: rates[rtt, loss, client] for client in clients if (rtt, loss, client) in rates}
        cells = [
            f"{here[client]:.2f} ({sizes[rtt, loss, client] / (1 << 20):.0f})" if client in here else "-"
            for client in clients
        ]
        one = next(iter(here))
        rounds = sum((row["rtt"], row["loss"], row["client"]) == (rtt, loss, one) for row in rows)
        ratios = [_ratio(here, OURS, TUS), _ratio(here, OURS, (*TUS, "put"))]
        lines.append([f"{rtt:g} ms, {loss:g} %", f"{rounds}", *cells, *ratios])
    names = [NAMES[client] for client in clients]
    head = ["line (RTT, loss)", "rounds", *names, "best of ours / best tus", "/ best other"]
    figure, axes = plt.subplots(figsize=(9, 4))
    width = 0.8 / len(clients)
    for index, client in enumerate(clients):
        xs = [at + index * width for at in range(len(places))]
        heights = [rates.get((*place, client), 0) for place in places]
        axes.bar(xs, heights, width, label=NAMES[client], color=COLOURS[client])
    axes.axhline(12.5, color="black", linewidth=0.8, linestyle=":", label="the line, 100 Mbit/s")
    middles = [at + (0.8 - width) / 2 for at in range(len(places))]
    axes.set_xticks(middles, [f"{rtt:g} ms\n{loss:g} %" for rtt, loss in places])
    axes.set_ylabel("MB/s")
    axes.set_xlabel("round trip time and loss")
    axes.legend(fontsize=8)
    figure.tight_layout()
    (DOC / "images").mkdir(exist_ok=True)
    figure.savefig(DOC / "images" / "benchmark-line.png", dpi=110)
    plt.close(figure)
    text = "### Line: MB/s over 100 Mbit/s (12.5 MB/s), in brackets the MiB of the file\n\n" + table(head, lines)
    return text + "\n\n![MB/s on each line, by client](images/benchmark-line.png)"


def _browser(rows: Rows) -> str:
    rates = medians(rows, lambda row: row["client"], "rate")
    client_cpu = medians(rows, lambda row: row["client"], "client_cpu")
    server_cpu = medians(rows, lambda row: row["client"], "server_cpu")
    gib = rows[0]["bytes"] / (1 << 30)
    best = _best(rates, TUS)
    lines = [
        [
            NAMES[client],
            f"{rates[client]:.0f}",
            f"{rates[client] / best:.2f}",
            f"{client_cpu[client] / gib:.1f}",
            f"{server_cpu[client] / gib:.1f}",
        ]
        for client in NAMES
        if client in rates
    ]
    head = ["client", "MB/s", "/ best tus", "client CPU-s/GiB", "server CPU-s/GiB"]
    return "### Browser: Chromium over loopback\n\n" + table(head, lines)


def _server(rows: Rows) -> str:
    costs = medians(rows, lambda row: row["way"], "cpu_per_gib")
    peaks = medians(rows, lambda row: row["way"], "peak")
    nginx = costs["nginx DAV PUT"]
    lines = [[way, f"{costs[way]:.2f}", f"{costs[way] / nginx:.2f}", f"{peaks[way] / 1e6:.0f}"] for way in costs]
    head = ["way", "server CPU-s/GiB", "/ nginx", "peak memory, MB"]
    return "### Server: what a GiB costs\n\n" + table(head, lines)


def _small(rows: Rows) -> str:
    """Return the rates of each load, and what a file costs; ratios to the fastest tus of the same kind of client."""
    sections = []
    for count, size in sorted({(row["count"], row["size"]) for row in rows}, reverse=True):
        here = [row for row in rows if row["size"] == size]
        rates, server, client = (
            medians(here, lambda row: row["way"], value) for value in ("rate", "server_cpu", "client_cpu")
        )
        handed = medians([row for row in here if row["handed_over"]], lambda row: row["way"], "handed_over")
        lines = []
        for way, rate in sorted(rates.items()):
            rivals = [rates[other] for other in rates if "tus" in other and other.split(",")[0] == way.split(",")[0]]
            ratio = f"{rate / max(rivals):.2f}" if rivals else "-"
            whole = f"{handed[way]:.0f}" if way in handed else "-"
            costs = f"{server[way] * 1000:.2f} ms", f"{client[way] * 1000:.2f} ms"
            lines.append([way, f"{rate:.0f}", whole, ratio, *costs])
        head = [
            "client",
            "files a second",
            "handed over a second",
            "/ best tus",
            "server CPU a file",
            "client CPU a file",
        ]
        sections.append(f"{count} files of {size:,} bytes:\n\n" + table(head, lines))
    return "### Small: many files over loopback\n\n" + "\n\n".join(sections)


def _tickets(rows: Rows) -> str:
    lines = [
        [
            f"{row['tombstones']:,}",
            f"{row['rate']:.0f}",
            f"{row['latency_99'] * 1000:.0f} ms",
            f"{row['cores']:.2f}",
            f"{row['upload'] * 1000:.0f} ms",
            f"{row['status'] * 1000:.0f} ms",
            f"{row['metrics'] * 1000:.0f} ms",
            f"{row['start']:.1f} s",
            f"{row['rest']:.3f}",
            f"{row['memory'] / 1e6:.0f} MB",
        ]
        for row in rows
    ]
    head = [
        *("tombstones", "new_upload a second", "answer, 99 %", "cores used", "a small file's upload", "status page"),
        *("metrics", "start", "cores used at rest", "memory"),
    ]
    return f"### Tickets: one worker, {BACKENDS} connections that ask\n\n" + table(head, lines)


def _throughput(rows: Rows) -> str:
    """Return the medians of one worker and two, and their ratio."""

    def key(row: dict[str, Any]) -> tuple[str, int]:
        return row["way"], row["workers"]

    rates, idle = medians(rows, key, "rate"), medians(rows, key, "idle")
    server, clients = medians(rows, key, "server_cores"), medians(rows, key, "client_cores")
    lines = [
        [
            way,
            str(workers),
            f"{rates[way, workers]:.0f}",
            f"{rates[way, workers] / rates[way, 1]:.2f}",
            f"{server[way, workers]:.2f}",
            f"{clients[way, workers]:.2f}",
            f"{100 * idle[way, workers]:.0f} %",
        ]
        for way, workers in rates
    ]
    head = ["way", "workers", "MB/s", "/ one worker", "cores of the server", "cores of the clients", "machine idle"]
    return "### Throughput: one worker and two on the same two cores\n\n" + table(head, lines)


def _scale(rows: Rows) -> str:
    lines = [
        [
            str(row["workers"]),
            str(row["uploads"]),
            f"{row['latency_median'] * 1000:.0f} ms",
            f"{row['latency_99'] * 1000:.0f} ms",
            f"{row['first_99'] * 1000:.0f} ms",
            f"{row['last_99'] * 1000:.0f} ms",
            f"{row['server_cpu'] / row['seconds']:.2f}",
            f"{row['cpu_per_chunk'] * 1000:.2f} ms",
            f"{row['memory'] / 1e6:.0f} MB",
            f"{row['memory_per_upload'] / 1e3:.0f} KB",
            "-" if row["loop_lag_99"] is None else f"{row['loop_lag_99'] * 1000:.0f} ms",
        ]
        for row in rows
    ]
    head = [
        "workers",
        "uploads",
        "ack, median",
        "ack, 99 %",
        "first ack, 99 %",
        "last ack, 99 %",
        "cores used",
        "CPU a chunk",
        "memory",
        "per upload",
        "loop lag, 99 %, at most",
    ]
    return "### Scale: uploads of 50 KB/s each\n\n" + table(head, lines)


def _objects(rows: Rows) -> str:
    """Return what files cost that become objects, each beside the tusd whose store checks the bytes as well, or not."""
    slow = [row for row in rows if "dest_type" in row]
    rows = [row for row in rows if "dest_type" not in row]
    costs, peaks, requests, seconds = (
        medians(rows, lambda row: row["way"], value) for value in ("cpu_per_gib", "peak", "requests_per_gib", "seconds")
    )
    rates = {way: rows[0]["bytes"] / seconds[way] / 1e6 for way in seconds}
    lines = []
    for way in costs:
        rival = UNCHECKED if way.endswith(("none", UNCHECKED)) else "tusd"
        lines.append(
            [
                way,
                f"{costs[way]:.2f}",
                f"{costs[way] / costs[rival]:.2f}" if rival in costs else "-",
                f"{rates[way]:.0f}",
                f"{rates[way] / rates[rival]:.2f}" if rival in rates else "-",
                f"{peaks[way] / 1e6:.0f}",
                f"{requests[way]:.0f}",
            ]
        )
    head = ["way", "server CPU-s/GiB", "/ tusd", "MB/s", "/ tusd", "peak memory, MB", "requests to the store a GiB"]
    text = "### Objects: through a server into Ceph\n\n" + table(head, sorted(lines))
    memory = ([str(row["uploads"]), row["dest_type"], f"{row['memory'] / 1e6:.0f}"] for row in slow)
    return text + "\n" + table(["slow uploads at once", "to", "peak memory, MB"], memory) if slow else text


def _direct(rows: Rows) -> str:
    """Return how fast pages send straight to a store, and what that costs."""
    rates, servers, clients, requests = (
        medians(rows, lambda row: (row["line"], row["client"]), value)
        for value in ("rate", "server_cpu_per_gib", "client_cpu_per_gib", "requests_per_gib")
    )
    lines = []
    for line, client in rates:
        ours = client == "incoming-direct"
        lines.append(
            [
                line,
                NAMES[client],
                f"{rates[line, client]:.1f}",
                f"{rates[line, client] / rates[line, 'uppy-s3']:.2f}",
                f"{servers[line, client]:.2f}" if ours else "-",
                f"{clients[line, client]:.1f}",
                f"{requests[line, client]:.0f}",
            ]
        )
    head = ["line", "client", "MB/s", "/ Uppy", "server CPU-s/GiB", "browser CPU-s/GiB", "requests to the store a GiB"]
    return "### Direct: from the browser into Ceph\n\n" + table(head, sorted(lines))
