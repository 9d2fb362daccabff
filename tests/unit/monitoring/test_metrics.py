"""The counters of one worker, and that every metric is documented."""

import re

import pytest

from incoming.callbacks.answer import Verdict
from incoming.core.errors import TABLE
from incoming.monitoring.metrics import (
    ANSWERS,
    COUNTED,
    ERRORS,
    GAUGES,
    STATES,
    TIMED,
    Histogram,
    WorkerCounters,
    cumulated,
)
from tests.support.tools import ROOT

OPERATIONS = (ROOT / "doc" / "operations.md").read_text()


def test_a_counter_of_zero_is_omitted() -> None:
    assert WorkerCounters().totals() == {}


def test_all_counts_are_in_the_totals() -> None:
    counters = WorkerCounters()
    counters.transports["websocket"].stored(1000, 0.003)
    counters.transports["websocket"].stored(24, 100)
    counters.transports["http"].stored(1, 0.0)
    counters.errors["storage_full"] += 1
    counters.called_back("again", 0.2)
    counters.loop_lag.observe(0.02)
    assert counters.received == 1025
    assert counters.totals() == {
        "bytes/websocket": 1024,
        "acks/websocket": 2,
        "chunk_seconds/websocket/0.005": 1,
        "chunk_seconds/websocket/+Inf": 1,
        "chunk_seconds/websocket/sum": 100.003,
        "bytes/http": 1,
        "acks/http": 1,
        "chunk_seconds/http/0.001": 1,
        "errors/storage_full": 1,
        "callbacks/again": 1,
        "callback_seconds/0.25": 1,
        "callback_seconds/sum": 0.2,
        "loop_lag_seconds/0.025": 1,
        "loop_lag_seconds/sum": 0.02,
    }


@pytest.mark.parametrize(("value", "bucket"), [(0, "1.0"), (1.0, "1.0"), (1.1, "2.0"), (2.0, "2.0"), (9, "+Inf")])
def test_a_bound_belongs_to_its_bucket(value: float, bucket: str) -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(value)
    assert dict(histogram.items("x"))[f"x/{bucket}"] == 1


def test_buckets_are_cumulative() -> None:
    counted = {"x/1.0": 3.0, "x/+Inf": 2.0, "x/sum": 7.5}
    assert cumulated("x", (1.0, 2.0), counted) == ([("1.0", 3.0), ("2.0", 3.0), ("+Inf", 5.0)], 7.5)


def test_every_value_of_a_label_is_known_beforehand() -> None:
    """A counter that appears with its first event has no rate of it."""
    assert set(ANSWERS) == {verdict.value for verdict in Verdict}
    assert set(ERRORS) == {kind("").name for kind in TABLE.values()}
    assert all(metric.values for metric in COUNTED)


def test_every_metric_is_documented() -> None:
    exposed = {f"{metric.name}_total" for metric in COUNTED} | {metric.name for metric in (*TIMED, *GAUGES)}
    documented = set(re.findall(r"^\| `(incoming_\w+)", OPERATIONS, re.MULTILINE))
    assert documented == exposed
    for metric in (*COUNTED, *TIMED, *GAUGES):
        if metric.label:
            assert f"`{metric.name}" in OPERATIONS
            assert f"{{{metric.label}}}`" in OPERATIONS
    assert all(f"`{state}`" in OPERATIONS for state in STATES)
