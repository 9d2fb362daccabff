"""The status page for operators and its JSON. upload_overview.py and upload_selection.py decide what is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import incoming
from incoming.core.ticket import Ticket
from incoming.handlers.operator.operator_handler import OperatorHandler
from incoming.handlers.services import Services
from incoming.monitoring.upload_overview import describe, shown
from incoming.monitoring.upload_selection import Selection, selected, selection
from incoming.monitoring.worker_reports import Overview, WorkerReport
from incoming.storage.byte_store import free_bytes
from incoming.storage.operator_store import TRAFFIC_SLOT, TRAFFIC_SLOTS

PAGE = Path(__file__).parent / "page"
MAX_SHOWN = 200
_NAMES = (
    *("status.html", "status.css"),
    *("status.js", "readable.js", "traffic.js", "dom.js"),
    *("actions.js", "address.js", "filters.js", "rows.js", "detail.js"),
)
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def status_files(directory: Path = PAGE) -> dict[str, tuple[bytes, str]]:
    """Return content and type of the page's files by name. Raises FileNotFoundError if the installation lacks one."""
    return {name: ((directory / name).read_bytes(), _TYPES[Path(name).suffix]) for name in _NAMES}


class StatusPage(OperatorHandler):
    """The page and its files."""

    def initialize(self, services: Services, files: Mapping[str, tuple[bytes, str]]) -> None:  # type: ignore[override]
        super().initialize(services)
        self._files = files

    def get(self, name: str | None = None) -> None:
        content, content_type = self._files[name or "status.html"]
        self.set_header("Content-Type", f"{content_type}; charset=utf-8")
        self.finish(content)

    head = get


class StatusNow(OperatorHandler):
    """The current state as JSON; the page requests it every second.

    `state`, `text` and `sort` select uploads (upload_selection.py). Without them the list has what an operator wants to
    see first.
    """

    async def get(self) -> None:
        self.require_own_page()
        given = {name: self.get_query_argument(name, "") for name in ("state", "text", "sort")}
        wanted = selection(**given) if any(given.values()) else None
        services = self.services
        overview = await services.worker_reporter.overview()
        now = services.tickets.clock.now()
        counts = await services.tickets.counts()
        found = await self._listed(wanted, overview, now)
        self.finish_json(
            {
                "time": now,
                "version": incoming.__version__,
                "stopping": services.upload_service.draining,
                "states": {str(state): count for state, count in counts.items()},
                "speed": round(sum(activity.speed for activity in overview.uploads.values())),
                "sending": len(overview.uploads),
                "connections": dict(overview.connections),
                "workers": len(overview.workers),
                "instances": {name: _instance(workers) for name, workers in overview.instances.items()},
                "lag": max((worker.lag for worker in overview.workers), default=0.0),
                "memory": sum(worker.memory for worker in overview.workers),
                "free": await free_bytes(services.store),
                "low_space": services.settings.low_space,
                "traffic": _last_hour(overview.traffic, now),
                "found": len(found),
                "uploads": [describe(ticket, overview.uploads.get(ticket.id), now) for ticket in found[:MAX_SHOWN]],
            }
        )

    async def _listed(self, wanted: Selection | None, overview: Overview, now: float) -> list[Ticket]:
        services = self.services
        if wanted is not None:
            return await selected(services.operators, wanted, overview.uploads)
        connected = sorted(overview.uploads, key=lambda ticket_id: -overview.uploads[ticket_id].speed)
        return await shown(services.tickets, services.operators, connected, now, MAX_SHOWN)


def _instance(workers: Sequence[WorkerReport]) -> dict[str, Any]:
    """Return what is shown of an instance: memory in bytes, the longest lag in seconds."""
    return {
        "workers": len(workers),
        "connections": sum(sum(worker.connections.values()) for worker in workers),
        "lag": max(worker.lag for worker in workers),
        "memory": sum(worker.memory for worker in workers),
    }


def _last_hour(traffic: Mapping[int, int], now: float) -> dict[str, Any]:
    """Return the bytes a second of each past slot, oldest first."""
    last = int(now // TRAFFIC_SLOT)
    slots = range(last - TRAFFIC_SLOTS, last)
    return {"slot": TRAFFIC_SLOT, "speeds": [round(traffic.get(slot, 0) / TRAFFIC_SLOT) for slot in slots]}
