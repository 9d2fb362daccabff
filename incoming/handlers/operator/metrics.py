"""`/incoming/metrics`: the metrics of the whole server for Prometheus, from any worker; for backend_networks."""

from __future__ import annotations

from collections.abc import Callable

import incoming
from incoming.handlers.base import Handler
from incoming.handlers.caller_access import require_monitor
from incoming.monitoring.metrics import TRANSPORTS
from incoming.monitoring.worker_reports import Overview
from incoming.storage.byte_store import free_bytes

exposition: Callable[..., tuple[bytes, str]] | None
try:
    from incoming.monitoring.prometheus import exposition
except ImportError:
    exposition = None

MISSING = "metrics need the Python package prometheus-client: pip install 'incoming[metrics]'"


_SPOOL = {"bytes": "used", "limit_bytes": "limit", "held_uploads": "held"}
"""The ends of the gauges' names, and the numbers of the workers' reports."""


class Metrics(Handler):
    """All families of incoming/monitoring/metrics.py; 501 where prometheus-client is not installed."""

    def prepare(self) -> None:
        require_monitor(self.request, self.services.settings)

    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        if exposition is None:
            self.set_status(501)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(MISSING)
            return
        services = self.services
        overview = await services.worker_reporter.overview()
        free = await free_bytes(services.store)
        measured: dict[str, dict[str, float]] = {
            "incoming_uploads": {str(state): count for state, count in (await services.tickets.counts()).items()},
            "incoming_connections": {transport: overview.connections[transport] for transport in TRANSPORTS},
            "incoming_free_bytes": {} if free is None else {"": free},
            "incoming_workers": {"": len(overview.workers)},
            "incoming_instance_workers": {name: len(workers) for name, workers in overview.instances.items()},
            "incoming_resident_memory_bytes": {"": sum(worker.memory for worker in overview.workers)},
            **{f"incoming_spool_{name}": spool for name, spool in _spool(overview).items()},
            "incoming_info": {incoming.__version__: 1},
        }
        page, content_type = exposition(overview.counted, measured, self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", content_type)
        self.finish(page)


def _spool(overview: Overview) -> dict[str, dict[str, float]]:
    """Return the values of the gauges for spools; none if no worker has a spool."""
    spool = overview.spool
    return {end: {"": spool[name]} if spool else {} for end, name in _SPOOL.items()}
