"""After the last byte: waits for what the application makes of the file."""

from __future__ import annotations

from dataclasses import dataclass

from incoming.client.upload.http_connection import UploadResource
from incoming.client.upload.progress import ARRIVED, Progress, Watcher
from incoming.client.upload.retrying import Retrying
from incoming.core.errors import HandoverFailed, UploadCancelled, UploadError
from incoming.wire.client_messages import StateNews, state_of

LONG_POLL = 25
"""Seconds that the server holds back a status that has not changed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An upload that the application has taken."""

    ticket: str
    size: int
    state: str = "finished"


async def wait_for_outcome(resource: UploadResource, retrying: Retrying, watch: Watcher, size: int) -> str | None:
    """Return the final state when the application has the file; None when bytes are missing again.

    Raises UploadCancelled and HandoverFailed with the reason, and what `retrying` raises.
    """
    known = ""
    while True:
        wait = LONG_POLL if known else 0
        news = state_of(await retrying.until_done(lambda: resource.status(wait=wait, state=known)))  # noqa: B023
        if news.state in ARRIVED:
            watch(Progress(news.state, size, size, note=news.reason))
        if news.is_final:
            raise_unless_finished(news)
            return news.state
        if news.state not in ARRIVED:
            return None
        known = news.state


def raise_unless_finished(news: StateNews) -> None:
    """Raise what a final state means for the user: UploadCancelled, HandoverFailed."""
    if news.is_final and news.state != "finished":
        kind: type[UploadError] = UploadCancelled if news.state == "cancelled" else HandoverFailed
        raise kind(news.reason or f"the upload is {news.state}")
