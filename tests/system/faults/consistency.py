"""The invariants of a storage directory after any fault: one function for all kinds of tests."""

import hashlib
import sqlite3
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from incoming.core.extents import Extents
from incoming.core.ticket import RECEIVING, State, Ticket
from incoming.storage.ticket_row import COLUMNS, from_row
from tests.support.app_stub import AppStub, Callback

DATABASE = "incoming.sqlite"


@dataclass(frozen=True)
class Heard:
    """A callback, and the file found at that moment."""

    ticket_id: str
    cancelled: bool
    path: str
    sha256: str | None
    """None if there was no file."""


class Witness(AppStub):
    """An application that reads every file at its callback, and answers as AppStub does."""

    def __init__(self, **others: Any) -> None:
        super().__init__(**others)
        self.heard: list[Heard] = []
        self._hearing = threading.Lock()

    def answer(self, callback: Callback):  # type: ignore[no-untyped-def]
        path = callback.params["filename"]
        try:
            digest = sha256(self.read(path)) if path else None
        except FileNotFoundError:
            digest = None
        with self._hearing:
            self.heard.append(Heard(callback.params["id"], callback.params["cancelled"] == "yes", path, digest))
        return super().answer(callback)

    def read(self, path: str) -> bytes:
        """Return the content of a complete file. Raises FileNotFoundError."""
        return Path(path).read_bytes()

    def remove(self, path: str) -> None:
        """Remove a complete file, if it is there."""
        Path(path).unlink(missing_ok=True)

    def snapshot(self) -> list[Heard]:
        with self._hearing:
            return list(self.heard)

    def forget(self, ticket_id: str) -> list[Heard]:
        """Remove an upload from the record."""
        with self._hearing:
            gone = [one for one in self.heard if one.ticket_id == ticket_id]
            self.heard = [one for one in self.heard if one.ticket_id != ticket_id]
        return gone


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tickets_in(storage_dir: Path) -> dict[str, Ticket]:
    """Return all tickets, read without any code of the server that caches or writes."""
    connection = sqlite3.connect(storage_dir / DATABASE, timeout=60)
    try:
        rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM tickets").fetchall()
    finally:
        connection.close()
    return {ticket.id: ticket for ticket in map(from_row, rows)}


def files_in(storage_dir: Path) -> dict[str, Path]:
    """Return the files of uploads below the directory, by name."""
    return {path.name: path for path in storage_dir.glob("??/*")}


def assert_consistent(
    storage_dir: Path,
    acks: Mapping[str, Extents],
    callbacks: Sequence[Heard],
    sources: Mapping[str, bytes],
    *,
    ended: bool = False,
    foreign: Collection[str] = (),
) -> None:
    """Check that nothing acknowledged is lost and nothing false was handed over.

    `acks` are the acknowledgements of clients, `sources` each upload's content. With `ended` every upload must also
    have ended. `foreign` are names of files of others.
    """
    tickets, files = tickets_in(storage_dir), files_in(storage_dir)
    wrong: list[str] = []
    for name in files:
        if name.removesuffix(".part") not in tickets and name not in foreign:
            wrong.append(f"the file {name} belongs to no ticket")
    for ticket_id, source in sources.items():
        if ticket_id not in tickets:
            wrong.append(f"the ticket {ticket_id} is gone")
            continue
        ticket = tickets[ticket_id]
        heard = [one for one in callbacks if one.ticket_id == ticket_id]
        wrong += _of_the_promises(ticket, acks.get(ticket_id, Extents()))
        wrong += _of_the_bytes(ticket, files, source)
        wrong += _of_the_callbacks(ticket, heard, source)
        if ended and ticket.state != State.FINISHED:
            wrong.append(f"{ticket_id} ended as {ticket.state}: {ticket.reason}")
    wrong += [f"a callback about an unknown ticket: {heard}" for heard in callbacks if heard.ticket_id not in tickets]
    assert not wrong, "\n".join(wrong)


def _of_the_promises(ticket: Ticket, acked: Extents) -> list[str]:
    if ticket.state == State.CANCELLED:
        return []
    lost = [gap for start, end in acked for gap in ticket.extents.missing(start, end)]
    return [f"{ticket.id} ({ticket.state}): {lost} were acked and are not in the ticket"] if lost else []


def _of_the_bytes(ticket: Ticket, files: Mapping[str, Path], source: bytes) -> list[str]:
    """Check that the ticket's extents are in the file, with the bytes that were sent."""
    complete = _content(files.get(ticket.id))
    if complete is not None:
        right = sha256(complete) == sha256(source)
        return [] if right else [f"{ticket.id} ({ticket.state}): the complete file is not what was sent"]
    if ticket.state not in RECEIVING:
        gone = ticket.state not in (State.FINISHED, State.CANCELLED, State.FAILED)
        return [f"{ticket.id} ({ticket.state}): the complete file is gone"] if gone else []
    held = _content(files.get(f"{ticket.id}.part")) or b""
    wrong = []
    for start, end in ticket.extents:
        if end > len(held):
            wrong.append(f"{ticket.id}: [{start}, {end}) is beyond the end of the file at {len(held)}")
        elif held[start:end] != source[start:end]:
            wrong.append(f"{ticket.id}: [{start}, {end}) is not what was sent")
    return wrong


def _content(path: Path | None) -> bytes | None:
    """Return None without a file: a finished upload's is removed after its end is recorded."""
    try:
        return path.read_bytes() if path is not None else None
    except FileNotFoundError:
        return None


def _of_the_callbacks(ticket: Ticket, heard: Sequence[Heard], source: bytes) -> list[str]:
    wrong = []
    if ticket.state == State.FINISHED and not any(one.sha256 == sha256(source) for one in heard):
        wrong.append(f"{ticket.id} is finished, and its application was never called about the whole file")
    for one in heard:
        if one.cancelled:
            if ticket.state != State.CANCELLED:
                wrong.append(f"{ticket.id} ({ticket.state}): the application was told that it was cancelled")
        elif not ticket.complete or ticket.state in RECEIVING:
            wrong.append(f"{ticket.id} ({ticket.state}): the application was called for an incomplete file")
        elif one.sha256 not in (sha256(source), None if ticket.state == State.FINISHED else ""):
            wrong.append(f"{ticket.id}: the file handed over is not what was sent")
    return wrong
