"""The log's format: one record per event, as text or JSON.

Clients cannot forge a record: unprintable characters are escaped, and the lines of a traceback are indented behind a
bar. Tickets are capabilities, so the log has only the beginning of an id, enough to find it. Repeated warnings are
capped, because unidentified clients can cause them. `event` is the message without its arguments, the same text each
time. log_queue.py writes the records.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

from incoming.server.log_queue import QueuedHandler

log = logging.getLogger(__name__)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "event", "flood"}
_TICKET = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE)
_SUBJECT = re.compile(r"upload %s: ")
_MAX_MESSAGE = 4000
"""Characters of a message; the rest is truncated, so that long names do not fill the disk."""

FLOOD_LIMIT = 20
FLOOD_SECONDS = 10.0
"""At most FLOOD_LIMIT warnings of one kind are written in FLOOD_SECONDS; the rest is counted."""


def configure(level: str, log_format: str) -> None:
    """Write everything that this process logs to standard error, in one of the two formats."""
    handler = QueuedHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    handler.addFilter(FloodGate())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_thread_failure
    # Malformed requests, and each request, are for debugging only.
    least = logging.NOTSET if level == "debug" else max(logging.WARNING, getattr(logging, level.upper()))
    for noisy in ("tornado.general", "tornado.access", "asyncio"):
        logging.getLogger(noisy).setLevel(least)


def _log_unraisable(failure: sys.UnraisableHookArgs) -> None:
    """Log what Python would print beside the log, for instance an exception in a finaliser."""
    exception = failure.exc_value or failure.exc_type()
    log.error("exception ignored in %r", failure.object, exc_info=exception)


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    name = failure.thread.name if failure.thread else "unknown"
    log.error("thread %s ended with an exception", name, exc_info=failure.exc_value)


def printable(text: str) -> str:
    """Return `text` without characters that could end a line, move a cursor or change the reading direction."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _tidy(text: str) -> str:
    text = _TICKET.sub(r"\1…", text)
    if len(text) > _MAX_MESSAGE:
        text = f"{text[:_MAX_MESSAGE]}… ({len(text)} characters)"
    return printable(text)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    """Return the values given as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _event(record: logging.LogRecord) -> str:
    """Return the text by which a program finds the event: the same for every upload, client and reason."""
    if isinstance(named := getattr(record, "event", None), str):
        return named
    template = str(record.msg)
    return _tidy(_SUBJECT.sub("", template, count=1) if template != "%s" else record.getMessage())


def _quoted(text: str) -> str:
    return text if text and not set(text) & set(' ="') else json.dumps(text, ensure_ascii=False)


class TextLines(logging.Formatter):
    """`time LEVEL logger[pid] message name=value ...`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = f"{moment} {record.levelname} {record.name}[{record.process}] {_tidy(record.getMessage())}"
        for name, value in _facts(record).items():
            line += f" {name}={_quoted(_tidy(str(value)))}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    | {_tidy(part)}" for part in trace.split("\n"))
        return line


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": _tidy(record.getMessage()),
            "event": _event(record),
        }
        if ticket := _TICKET.search(record.getMessage()):
            entry["upload"] = ticket[1] + "…"
        for name, value in _facts(record).items():
            plain = value is None or isinstance(value, bool | int | float)
            if name == "upload" or name not in entry:
                entry[name] = value if plain else _tidy(str(value))
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            entry["traceback"] = "\n".join(_tidy(part) for part in trace.split("\n"))
        return json.dumps(entry)


class FloodGate(logging.Filter):
    """Limit the warnings of one kind; a later one has the number of suppressed ones.

    A kind is a place in the code and, where one place logs several kinds, the record's `flood`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int, object], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        kind = (record.pathname, record.lineno, getattr(record, "flood", None))
        now = time.monotonic()
        since, count = self._seen.get(kind, (now, 0))
        if now - since >= FLOOD_SECONDS:
            held = count - FLOOD_LIMIT
            since, count = now, 0
            if held > 0:
                record.held_back = held
        self._seen[kind] = (since, count + 1)
        return count < FLOOD_LIMIT
