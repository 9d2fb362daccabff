"""The part `cluster`: stores of tickets and whole instances, on SQLite and on PostgreSQL, each load in turn."""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import cluster
from parts import MIB, earlier, say, scratch, source

from tests.support.postgres_server import PostgresServer


def cluster_part(told: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure tickets in SQLite and in PostgreSQL, with one instance and two.

    Results of earlier runs with other loads stay.
    """
    loads = told.cluster_load or list(CLUSTER_LOADS)
    rows = [row for row in earlier("cluster") if row["kind"] not in loads or _is_other_crowd(told, row)]
    with cluster.database() as server:
        for kind in loads:
            rows += ({"kind": kind, **row} for row in CLUSTER_LOADS[kind](told, server))
    return rows


def _is_other_crowd(told: argparse.Namespace, row: dict[str, Any]) -> bool:
    return row["kind"] == "slow" and row["uploads"] != told.cluster_uploads


def _cluster_commits(told: argparse.Namespace, server: PostgresServer) -> Iterator[dict[str, Any]]:
    with scratch(told) as directory:
        yield asdict(cluster.sqlite(directory, told.cluster_seconds))
    for instances in (1, 2):
        measured = cluster.postgres(server, instances, told.cluster_seconds)
        yield asdict(measured)
        say(f"PostgreSQL, {instances} instances: {measured.rate:.0f} commits a second")


def _cluster_news(told: argparse.Namespace, server: PostgresServer) -> Iterator[dict[str, Any]]:
    yield asdict(cluster.news(server))


def _cluster_whole(told: argparse.Namespace, server: PostgresServer) -> Iterator[dict[str, Any]]:
    for way, size in (("PUT", 256), ("PUTs of 16 KiB", 1)):
        for instances in (1, 2):
            with scratch(told) as directory:
                both = cluster.whole(directory, server, instances, way, *source(directory, size * MIB))
            yield asdict(both)
            say(f"{way}, {instances} whole instances: {both.rate:.0f} MB/s, {100 * both.idle:.0f} % idle")


def _cluster_slow(told: argparse.Namespace, server: PostgresServer) -> Iterator[dict[str, Any]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for _ in range(told.rounds):
        for name in ("SQLite", "PostgreSQL"):
            with scratch(told) as directory:
                url = server.new_schema() if name == "PostgreSQL" else ""
                crowd = cluster.slow_uploads(directory, url, told.cluster_uploads)
            yield {"store": name, **asdict(crowd)}
            say(f"{name}, {crowd.uploads} slow uploads: acks within {crowd.latency_99:.3f} s (99 %)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _cluster_steady(told: argparse.Namespace, server: PostgresServer) -> Iterator[dict[str, Any]]:
    for minute in cluster.steady(server, told.cluster_minutes):
        yield asdict(minute)
        say(f"after {minute.minutes} minutes: {minute.size} bytes, {minute.hot} of {minute.updates} updates HOT")


CLUSTER_LOADS: dict[str, Callable[[argparse.Namespace, PostgresServer], Iterator[dict[str, Any]]]] = {
    "commits": _cluster_commits,
    "news": _cluster_news,
    "whole": _cluster_whole,
    "slow": _cluster_slow,
    "steady": _cluster_steady,
}
