"""The tables of the part `cluster`."""

from __future__ import annotations

from tables import Rows, medians, table


def cluster(rows: Rows) -> str:
    """Return what a commit costs each store, and what instances and users see of it."""
    makers = {"commits": _commits, "news": _news, "whole": _whole, "slow": _slow, "steady": _steady}
    of_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in makers}
    tables = (make(of_kind[kind]) for kind, make in makers.items() if of_kind[kind])
    return "\n\n".join(("### Cluster: tickets in PostgreSQL", *tables))


def _commits(rows: Rows) -> str:
    head = [
        *("tickets in", "instances", "chunk commits a second", "new tickets a second", "CPU a commit: instances"),
        *("database server", "log bytes a commit or ticket", "HOT"),
    ]
    return table(
        head,
        (
            [
                row["store"],
                str(row["instances"]),
                f"{row['rate']:,.0f}",
                f"{row['created']:,.0f}",
                f"{row['instance_cpu'] * 1e6:.0f} us",
                f"{row['server_cpu'] * 1e6:.0f} us" if row["server_cpu"] else "-",
                f"{row['log_bytes']:.0f}",
                "-" if row["hot"] is None else f"{100 * row['hot']:.1f} %",
            ]
            for row in rows
        ),
    )


def _news(rows: Rows) -> str:
    return "\n".join(
        f"A change reaches another instance in {row['median'] * 1000:.1f} ms (median), {row['highest'] * 1000:.0f} ms "
        "at most."
        for row in rows
    )


def _whole(rows: Rows) -> str:
    return table(
        ["uploads", "instances", "MB/s", "cores: instances", "database server", "clients", "idle"],
        (
            [
                row["way"],
                str(row["instances"]),
                f"{row['rate']:.0f}",
                *(f"{row[side]:.2f}" for side in ("instance_cores", "server_cores", "client_cores")),
                f"{100 * row['idle']:.0f} %",
            ]
            for row in rows
        ),
    )


def _slow(rows: Rows) -> str:
    latency, latency_99, first, last, cpu, memory = (
        medians(rows, lambda row: (row["store"], row["uploads"]), value)
        for value in ("latency_median", "latency_99", "first_99", "last_99", "cpu_per_chunk", "memory")
    )
    return table(
        [
            *("tickets in", "slow uploads", "ack, median", "ack, 99 %", "/ SQLite"),
            *("first ack, 99 %", "last ack, 99 %", "CPU a chunk", "memory"),
        ],
        (
            [
                store,
                str(uploads),
                f"{latency[store, uploads] * 1000:.0f} ms",
                f"{latency_99[store, uploads] * 1000:.0f} ms",
                f"{latency_99[store, uploads] / latency_99['SQLite', uploads]:.2f}",
                f"{first[store, uploads] * 1000:.0f} ms",
                f"{last[store, uploads] * 1000:.0f} ms",
                f"{cpu[store, uploads] * 1000:.2f} ms",
                f"{memory[store, uploads] / 1e6:.0f} MB",
            ]
            for store, uploads in latency
        ),
    )


def _steady(rows: Rows) -> str:
    return table(
        ["minutes", "uploads", "updates of progress", "not HOT", "bytes of its table"],
        (
            [
                str(row["minutes"]),
                str(row["uploads"]),
                f"{row['updates']:,}",
                f"{row['updates'] - row['hot']:,}",
                f"{row['size']:,}",
            ]
            for row in rows
        ),
    )
