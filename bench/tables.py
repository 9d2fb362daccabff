"""Medians of results, and tables in Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

Rows = list[dict[str, Any]]


def medians(rows: Rows, key: Callable[[dict[str, Any]], Any], value: str) -> dict[Any, float]:
    """Return the median of `value` for each group of rows with the same key."""
    groups: dict[Any, list[float]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row[value])
    return {name: median(values) for name, values in groups.items()}


def table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Return a table with these columns and lines."""
    head = list(head)
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(rows + ["| " + " | ".join(line) + " |" for line in lines])
