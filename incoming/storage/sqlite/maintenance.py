"""What workers note in the database for those after them: how far they swept, when a server ran, and in which boot."""

from __future__ import annotations

import sqlite3

from incoming.core.service_time import ServiceTime
from incoming.core.steady_clock import Clock
from incoming.core.ticket import State


def swept(connection: sqlite3.Connection, state: State) -> float | None:
    """Return what `note_swept` noted last for this state."""
    value = _get(connection, f"swept/{state}")
    return None if value is None else float(str(value))


def note_swept(connection: sqlite3.Connection, state: State, until: float) -> None:
    _set(connection, f"swept/{state}", until)


def note_service(connection: sqlite3.Connection, now: float) -> ServiceTime:
    """Add `now` to the service time and return it; without a note, or with a damaged one, service begins now."""
    try:
        known = ServiceTime.from_text(str(_get(connection, "service")))
    except (ValueError, TypeError):
        known = ServiceTime(now)
    noted = known.noted(now)
    _set(connection, "service", noted.to_text())
    return noted


def note_boot(connection: sqlite3.Connection, host: str, boot_id: str) -> bool:
    """Note that this boot of the host is the present one; return whether it is another one than before."""
    key = f"boot/{host}"
    if _get(connection, key) == boot_id:
        return False
    _set(connection, key, boot_id)
    return True


def lease(connection: sqlite3.Connection, name: str, holder: str, clock: Clock, seconds: float) -> bool:
    """Take, renew or (0 seconds) release a lease; return False while another holder has it."""
    # Read within the transaction: a time from before another holder's commit would be one from before its lease.
    now = clock()
    key = f"lease/{name}"
    try:
        known, _, end = str(_get(connection, key)).partition(" ")
        until = float(end)
    except ValueError:
        known, until = "", 0.0
    # One that ends later was taken before the clock was set back.
    if known != holder and (not seconds or now < until <= now + 2 * seconds):
        return False
    _set(connection, key, f"{holder} {now + seconds!r}")
    return True


def _get(connection: sqlite3.Connection, key: str) -> object:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def _set(connection: sqlite3.Connection, key: str, value: object) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
