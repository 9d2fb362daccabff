"""The metrics of the whole server in Prometheus' formats; the only use of its library.

Importing this raises ImportError where prometheus-client is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from incoming.monitoring.metrics import COUNTED, GAUGES, TIMED, Metric, cumulated

Measured = Mapping[str, Mapping[str, float]]
"""Values of GAUGES by name and label value, "" without a label."""


def exposition(counted: dict[str, float], measured: Measured, accept: str) -> tuple[bytes, str]:
    """Return the page and its content type, which is OpenMetrics for a client that accepts that."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(counted, measured))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Numbers(Collector):
    def __init__(self, counted: dict[str, float], measured: Measured) -> None:
        self._counted = counted
        self._measured = measured

    def collect(self) -> Iterator[Family]:
        for metric in COUNTED:
            counter = CounterMetricFamily(metric.name, metric.about, labels=_labels(metric))
            for value in metric.values:
                counter.add_metric([value], self._counted.get(f"{metric.key}/{value}", 0.0))
            yield counter
        for metric in TIMED:
            histogram = HistogramMetricFamily(metric.name, metric.about, labels=_labels(metric))
            for value in metric.values or ("",):
                key = f"{metric.key}/{value}" if value else metric.key
                buckets, total = cumulated(key, metric.buckets, self._counted)
                histogram.add_metric([value] if value else [], buckets, total)
            yield histogram
        for metric in GAUGES:
            gauge = GaugeMetricFamily(metric.name, metric.about, labels=_labels(metric))
            for value, number in self._measured[metric.name].items():
                gauge.add_metric([value] if metric.label else [], number)
            yield gauge


def _labels(metric: Metric) -> list[str]:
    return [metric.label] if metric.label else []
