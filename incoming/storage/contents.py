"""All that a ticket database keeps, as it is moved from one store to another. Knows neither of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

THIS_HOST = "<>"
"""In `written_by`, the host that the contents are read on."""


@dataclass(frozen=True)
class Contents:
    """`tickets`: rows of ticket_row.COLUMNS and `written_by`, in batches. `records`: (ticket's id, name, value).

    `noted`: what processes have noted for those after them, by key; `boot` is this host's last boot. `counted` and
    `traffic` are those of operator_store.Notes.
    """

    tickets: Iterable[Sequence[Sequence[Any]]]
    records: Iterable[tuple[str, str, str]]
    noted: Mapping[str, str]
    boot: str
    counted: Mapping[str, float]
    traffic: Mapping[int, int]
