"""What has happened to an upload, for operators: a short list of entries, kept with the ticket.

Decides how many entries are kept. It does not know which events are worth an entry.
"""

from __future__ import annotations

from dataclasses import dataclass

KEPT_FIRST = 8
KEPT_LAST = 24
"""Entries; of a longer timeline, the first and the last ones are kept."""

LONGEST_DETAIL = 300
"""Characters."""

OMITTED = "omitted"
"""The event of the entry that stands for those that were removed; its detail is their number."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event: `at` in seconds since the epoch, a word, and what is to be said of it."""

    at: float
    event: str
    detail: str = ""


Timeline = tuple[Entry, ...]


def extended(timeline: Timeline, at: float, event: str, detail: str = "") -> Timeline:
    """Return the timeline with one more entry, and without those in the middle if it becomes too long."""
    if len(detail) > LONGEST_DETAIL:
        detail = detail[:LONGEST_DETAIL] + "…"
    longer = (*timeline, Entry(at, event, detail))
    if len(longer) <= KEPT_FIRST + KEPT_LAST:
        return longer
    first, omitted, last = longer[:KEPT_FIRST], longer[KEPT_FIRST:-KEPT_LAST], longer[-KEPT_LAST:]
    number = sum(int(entry.detail) if entry.event == OMITTED else 1 for entry in omitted)
    return (*first, Entry(omitted[-1].at, OMITTED, str(number)), *last)
