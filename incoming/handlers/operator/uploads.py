"""One upload for operators, and what they do with uploads: cancel, or retry the handover, one or many."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from incoming.core.errors import BadRequest, UploadError
from incoming.core.ticket import canonical_id
from incoming.handlers.operator.operator_handler import OperatorHandler
from incoming.monitoring.upload_overview import OPERATOR_REASON, describe, describe_fully
from incoming.monitoring.upload_selection import named

log = logging.getLogger(__name__)

MAX_SELECTED = 200
"""Uploads of one bulk action: as many as the page lists."""


class UploadDetail(OperatorHandler):
    """All about one upload: by its id, or the first characters of it, as the log has them."""

    async def get(self, ticket_id: str) -> None:
        self.require_own_page()
        ticket = await named(self.services.operators, ticket_id)
        overview = await self.services.worker_reporter.overview()
        now = self.services.tickets.clock.now()
        self.finish_json(describe_fully(ticket, overview.uploads.get(ticket.id), now))


class _Action(OperatorHandler):
    """A change by an operator. Only the page itself may request it."""

    def prepare(self) -> None:
        self.logged["function"] = "operator"
        super().prepare()

    async def act(self, ticket_id: str, action: str) -> dict[str, Any]:
        """Carry out the action and return the upload after it. Raises UploadError."""
        service = self.services.upload_service
        if action == "cancel":
            ticket = await service.cancel(ticket_id, OPERATOR_REASON, notify_app=True)
        else:
            ticket = await service.retry_handover(ticket_id)
        return describe(ticket, None, self.services.tickets.clock.now())


class OperatorAction(_Action):
    """The actions of the buttons: `cancel` an upload, or `retry` its handover now."""

    async def post(self, ticket_id: str, action: str) -> None:
        ticket_id = canonical_id(ticket_id)
        self.logged |= {"function": f"operator_{action}", "upload": ticket_id}
        self.require_guard()
        self.finish_json(await self.act(ticket_id, action))


class BulkAction(_Action):
    """The same for many: a JSON object with `ids`. The answer says of each upload what came of it."""

    async def post(self, action: str) -> None:
        self.logged["function"] = f"operator_{action}"
        self.require_guard()
        ids = _ids(self.request.body)
        self.logged["uploads"] = len(ids)
        outcomes = await asyncio.gather(*(self._outcome(ticket_id, action) for ticket_id in ids))
        done = [outcome for outcome in outcomes if "refused" not in outcome]
        log.info("%s by an operator: %d of %d uploads", action, len(done), len(ids))
        self.finish_json({"done": len(done), "uploads": outcomes})

    async def _outcome(self, ticket_id: str, action: str) -> dict[str, Any]:
        try:
            return {"id": ticket_id, "state": (await self.act(ticket_id, action))["state"]}
        except UploadError as error:
            return {"id": ticket_id, "refused": error.message}


def _ids(body: bytes) -> list[str]:
    """Return the ids in a bulk action's body. Raises BadRequest."""
    try:
        ids = json.loads(body)["ids"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadRequest('the body is a JSON object: {"ids": [...]}') from error
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise BadRequest("ids is a list of strings")
    if not 1 <= len(ids) <= MAX_SELECTED:
        raise BadRequest(f"{len(ids)} ids were given; a bulk action takes 1 to {MAX_SELECTED}")
    return list(dict.fromkeys(canonical_id(one) for one in ids))
