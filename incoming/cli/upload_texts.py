"""How uploads are printed: cells of a table, lines of facts, sizes and durations, with everything foreign escaped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from incoming.monitoring.upload_selection import SHORT_ID
from incoming.server import log_format

COLUMNS = ("id", "state", "arrived", "size", "speed", "idle", "attempts", "name")
MORE = (
    *("age", "in_state", "paused", "clients", "transports", "libraries", "connections"),
    *(
        "media_type",
        "metadata",
        "dest_type",
        "location",
        "digest",
        "requested_by",
        "callback_url",
        "next_attempt",
        "problem",
        "answer",
    ),
)
CLEAR = "\x1b[H\x1b[2J"
"""Makes a terminal empty (ECMA-48: CUP, ED)."""


def listing(facts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table of uploads; with the problem, if any has one."""
    columns = (*COLUMNS, "problem") if any(one["problem"] for one in facts) else COLUMNS
    yield from table([columns, *(_cells(columns, one) for one in facts)])


def full(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about one upload: facts, then what has happened."""
    for name in (*COLUMNS, *MORE):
        yield f"{name:<13} {_text(name, facts[name])}"
    yield ""
    for entry in facts["timeline"]:
        event = f"{moment(entry['at'])}  {entry['event']}"
        yield f"{event}  {log_format.printable(entry['detail'])}".rstrip()


def change(facts: Mapping[str, Any], now: float) -> str:
    """Return the line about an upload that has changed."""
    cells = dict(zip(COLUMNS, _cells(COLUMNS, facts), strict=True))
    problem = f"  {_text('problem', facts['problem'])}" if facts["problem"] else ""
    arrived = f"{cells['arrived']} of {cells['size']}"
    return f"{moment(now)}  {cells['id']}  {cells['state']:<12}  {arrived}  {cells['name']}{problem}"


def moment(at: float) -> str:
    """Return a time of day in the local time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _cells(columns: Sequence[str], facts: Mapping[str, Any]) -> tuple[str, ...]:
    shortened = {**facts, "id": facts["id"][:SHORT_ID]}
    return tuple(_text(name, shortened[name]) for name in columns)


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in ("arrived", "size"):
        return readable_size(value)
    if name == "speed":
        return f"{readable_size(value)}/s" if value else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(value)
    if isinstance(value, dict):
        value = ", ".join(f"{key}={text}" for key, text in value.items())
    if name in ("age", "idle", "in_state", "next_attempt"):
        return readable_duration(value)
    return log_format.printable(str(value)) or "-"


def readable_size(size: int) -> str:
    """Return a size in binary units, with three significant digits."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{size} B" if unit == "B" else f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.3g} TiB" if value < 999.5 else f"{value:.0f} TiB"


def readable_duration(seconds: float) -> str:
    """Return a duration in the two largest units that fit."""
    whole = max(0, round(seconds))
    for length, unit, small, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // small} {small_unit}"
    return f"{whole} s"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines with aligned columns; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False))
        yield "  ".join((*padded, row[-1]))
