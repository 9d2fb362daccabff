"""The status page for operators, its JSON, and the actions of its buttons. Only for backend_networks.

Browsers may use it, so it is protected against pages of other sites (a header that they cannot send, Origin,
Sec-Fetch-Site), DNS rebinding, framing, and the content of file names. upload_overview.py decides what is shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import incoming
from incoming.core.errors import Forbidden
from incoming.core.ticket import canonical_id
from incoming.handlers.base import Handler
from incoming.handlers.caller_access import require_operator, same_site, shows_token
from incoming.handlers.services import Services
from incoming.monitoring.upload_overview import OPERATOR_REASON, describe, shown
from incoming.monitoring.worker_reports import WorkerReport
from incoming.storage.byte_store import free_bytes
from incoming.storage.operator_store import TRAFFIC_SLOT, TRAFFIC_SLOTS

PAGE = Path(__file__).parent / "page"
MOST_SHOWN = 200
GUARD = "X-Incoming-Operator"
"""Pages of other sites cannot send this header without a preflight (CORS)."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def status_files(directory: Path = PAGE) -> dict[str, tuple[bytes, str]]:
    """Return content and type of the page's files by name. Raises FileNotFoundError if the installation lacks one."""
    names = ("status.html", "status.css", "status.js", "readable.js", "traffic.js")
    return {name: ((directory / name).read_bytes(), _TYPES[Path(name).suffix]) for name in names}


class OperatorHandler(Handler):
    """A resource for operators. With a backend_token, browsers are asked for it as a password."""

    for_pages = False

    def prepare(self) -> None:
        require_operator(self.request, self.services.settings)
        if not shows_token(self.request, self.services.settings):
            self.set_status(401)
            self.set_header("WWW-Authenticate", 'Basic realm="Incoming!!: any user, backend_token as password"')
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish("the status page requires the backend_token as password")

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Cross-Origin-Opener-Policy", "same-origin")


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
    """The current state as JSON; the page requests it every second."""

    async def get(self) -> None:
        if not same_site(self.request):
            raise Forbidden("pages of other sites may not read the status")
        services = self.services
        overview = await services.worker_reporter.overview()
        now = services.tickets.clock.now()
        counts = await services.tickets.counts()
        connected = sorted(overview.uploads, key=lambda ticket_id: -overview.uploads[ticket_id].speed)
        listed = await shown(services.tickets, services.operators, connected, now, MOST_SHOWN)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(
            json.dumps(
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
                    "uploads": [describe(ticket, overview.uploads.get(ticket.id), now) for ticket in listed],
                }
            )
        )


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


class OperatorAction(OperatorHandler):
    """The actions of the buttons: `cancel` an upload, or `retry` its handover now."""

    def prepare(self) -> None:
        self.logged["function"] = "operator"
        super().prepare()

    async def post(self, ticket_id: str, action: str) -> None:
        ticket_id = canonical_id(ticket_id)
        self.logged |= {"function": f"operator_{action}", "upload": ticket_id}
        if GUARD not in self.request.headers or not same_site(self.request):
            raise Forbidden("only the status page itself may do this")
        if action == "cancel":
            ticket = await self.services.upload_service.cancel(ticket_id, OPERATOR_REASON, notify_app=True)
        else:
            ticket = await self.services.upload_service.retry_handover(ticket_id)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(describe(ticket, None, self.services.tickets.clock.now())))
