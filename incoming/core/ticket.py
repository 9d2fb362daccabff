"""One upload's record and what may happen to it: the states, the events and the transition table.

Every change is a method that takes the facts and returns the next Ticket; an event that the table does not list for a
state is an error. Knows no clock (the caller gives `now`, seconds since the epoch), no storage and no wire.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from incoming.core.callback import Callback as Callback
from incoming.core.errors import (
    AlreadyComplete,
    BadRequest,
    DigestMismatch,
    FileChanged,
    FileTypeRefused,
    HandoverFailed,
    TakenOver,
    UploadCancelled,
    UploadError,
    WrongState,
)
from incoming.core.extents import Extents, Range
from incoming.core.file_types import is_wanted
from incoming.core.identity import Identity as Identity
from incoming.core.location import Location as Location
from incoming.core.size_limit import check_size, reservation
from incoming.core.ticket_options import TicketOptions as TicketOptions
from incoming.core.timeline import Timeline, extended


class State(StrEnum):
    """The names are the same in the database, in status JSON, in metrics and in the docs."""

    NEW = "new"
    UPLOADING = "uploading"
    ARRIVED = "arrived"
    HANDING_OVER = "handing_over"
    WAITING = "waiting"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


def canonical_id(text: str) -> str:
    """Return a ticket's id as it was issued; the digits of a UUID may come in upper case (RFC 9562 section 4)."""
    return text.lower()


FINAL = frozenset({State.FINISHED, State.CANCELLED, State.FAILED})
RECEIVING = frozenset({State.NEW, State.UPLOADING})


class Event(StrEnum):
    """An event in an upload's life."""

    OPEN = "open"
    STORE = "store"
    PAUSE = "pause"
    COMPLETE = "complete"
    CALL = "call"
    ANSWER_DONE = "answer_done"
    ANSWER_WAIT = "answer_wait"
    REFUSE = "refuse"
    FINISH = "finish"
    CANCEL = "cancel"
    EXPIRE = "expire"
    RETRY = "retry"
    SPOIL = "spoil"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.NEW, Event.OPEN): State.UPLOADING,
    (State.NEW, Event.CANCEL): State.CANCELLED,
    (State.NEW, Event.EXPIRE): State.CANCELLED,
    (State.UPLOADING, Event.OPEN): State.UPLOADING,
    (State.UPLOADING, Event.STORE): State.UPLOADING,
    (State.UPLOADING, Event.PAUSE): State.UPLOADING,
    (State.UPLOADING, Event.COMPLETE): State.ARRIVED,
    (State.UPLOADING, Event.CANCEL): State.CANCELLED,
    (State.UPLOADING, Event.EXPIRE): State.CANCELLED,
    (State.UPLOADING, Event.SPOIL): State.FAILED,
    (State.ARRIVED, Event.CALL): State.HANDING_OVER,
    (State.HANDING_OVER, Event.CALL): State.HANDING_OVER,
    (State.HANDING_OVER, Event.ANSWER_DONE): State.FINISHED,
    (State.HANDING_OVER, Event.ANSWER_WAIT): State.WAITING,
    (State.HANDING_OVER, Event.REFUSE): State.FAILED,
    # finish_upload may arrive before the app's answer "wait", or after that was lost.
    (State.HANDING_OVER, Event.FINISH): State.FINISHED,
    (State.WAITING, Event.FINISH): State.FINISHED,
    (State.WAITING, Event.EXPIRE): State.FAILED,
    # Repeating an event is not an error.
    (State.FINISHED, Event.FINISH): State.FINISHED,
    (State.CANCELLED, Event.CANCEL): State.CANCELLED,
    # An operator may retry a failed handover while its file is kept.
    (State.FAILED, Event.RETRY): State.ARRIVED,
}


_NOTHING = {"extents": Extents(), "synced": Extents()}


@dataclass(frozen=True, slots=True)
class Ticket:
    """One upload. `active_at` is when a client last did something, `state_since` when the state was entered.

    `version` grows with every committed change and tells the newer of two copies; the TicketStore sets it. `location`
    is where the complete file was put; `file_kept` is whether the server still keeps it, so that a handover can be
    retried. `part_size` is the length of the parts that the store keeps the file in, 0 if it has none or the size
    is not known. `store_data` is the ByteStore's own, from the first stored bytes on. `digest` is the complete file's
    SHA-256 in hexadecimal digits if the app asked for it. `losses` counts how often bytes that had arrived were lost.
    """

    id: str
    options: TicketOptions
    created_at: float
    active_at: float
    state_since: float
    state: State = State.NEW
    paused: bool = False
    identity: Identity = field(default_factory=Identity)
    extents: Extents = field(default_factory=Extents)
    synced: Extents = field(default_factory=Extents)
    epoch: int = 0
    session: str = ""
    location: Location = field(default_factory=Location)
    file_kept: bool = False
    part_size: int = 0
    reason: str = ""
    error_code: int = 0
    callback: Callback | None = None
    store_data: str = ""
    parts: tuple[Range, ...] = ()
    """Where the parts of a file that is sent in parts lie in the partial file (parts.py); empty for any other."""
    order: tuple[Range, ...] = ()
    """Those parts in the order in which they make the file; empty until it is declared."""
    version: int = 0
    digest: str = ""
    losses: int = 0
    timeline: Timeline = ()
    """What has happened, for operators: states that were entered, pauses, new sessions, answers of the app."""

    @property
    def size(self) -> int | None:
        """The file's length in bytes, None until a client has sent it."""
        return self.identity.size

    @property
    def reserved(self) -> int:
        """Bytes of the quota that this upload uses: those that have arrived, and those reserved for the rest."""
        if self.state in (State.FINISHED, State.CANCELLED) or (self.state == State.FAILED and not self.file_kept):
            return 0
        return reservation(self.extents.size, self.size, self.options.max_size)

    @property
    def problem(self) -> str:
        """The last error, as reported by the app or the server; empty if there was none."""
        return (self.callback.last_error if self.callback else "") or self.reason

    @property
    def complete(self) -> bool:
        """Whether the length is known and every byte below it has arrived."""
        if self.parts:
            return bool(self.order) and all(self.extents.covers(*part) for part in self.order)
        return self.size is not None and self.extents.covers(0, self.size)

    @property
    def awaits_completion(self) -> bool:
        """Whether every byte has arrived and the file does not have its final name yet."""
        return self.state == State.UPLOADING and self.complete

    @property
    def room(self) -> int | None:
        """The limit of offsets in the partial file: the length, if it is known and there are no parts."""
        return None if self.parts else self.size

    @property
    def is_rearranged(self) -> bool:
        """Whether the parts lie in another order in the partial file than in the file."""
        ends = [0, *(end for _, end in self.order)]
        return any(start != end for (start, _), end in zip(self.order, ends, strict=False))

    def move(self, event: Event, now: float, **changes: Any) -> Ticket:
        """Return the ticket after `event`. Raises WrongState, or the error with the outcome for a client, if it cannot
        happen.
        """
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            raise self.rejection(event)
        if state == self.state:
            return replace(self, **changes)
        timeline = extended(self.timeline, now, state.value, changes.get("reason", ""))
        return replace(self, state=state, state_since=now, timeline=timeline, **changes)

    def noted(self, now: float, event: str, detail: str = "") -> Ticket:
        """Return the ticket with an entry in its timeline."""
        return replace(self, timeline=extended(self.timeline, now, event, detail))

    def rejection(self, event: Event) -> UploadError:
        """Return the error that says why `event` cannot happen in this state."""
        if event == Event.CANCEL:
            return WrongState(f"too late to cancel: the upload is in state '{self.state}'")
        if event == Event.FINISH:
            return WrongState(f"uploader is not in 'handing over' state but in '{self.state}'")
        if self.state == State.CANCELLED:
            return UploadCancelled(f"upload cancelled: {self.reason}")
        if self.state == State.FAILED:
            return (DigestMismatch if self.error_code == DigestMismatch.code else HandoverFailed)(self.reason)
        if event in (Event.OPEN, Event.STORE, Event.PAUSE) and self.state not in RECEIVING:
            return AlreadyComplete("the file is complete; nothing more can be sent or changed")
        return WrongState(f"'{event}' cannot happen in state '{self.state}'")

    # --- events of clients --------------------------------------------------------------------------------------------

    def identify(self, declared: Identity, server_max_size: int = 0) -> Ticket:
        """Merge what a client states about its file with what is known.

        Raises FileChanged when a known part differs or the size is below what has arrived, FileTooLarge above a limit
        (bytes; 0 means none), FileTypeRefused when the app accepts neither name nor type.
        """
        joined = self.identity.join(declared)
        if declared.size is not None:
            check_size(declared.size, server_max_size, self.options.max_size)
            if any(end > declared.size for _, end in self.extents):
                raise FileChanged(f"the file has {declared.size} bytes, but more than that has already arrived")
        wanted = self.options.allowed_types
        if wanted and not is_wanted(joined.name, joined.media_type, wanted):
            raise FileTypeRefused(f"only files of these types are taken: {', '.join(wanted)}")
        return replace(self, identity=joined)

    def open(self, session: str, epoch: int | None, now: float) -> Ticket:
        """Open the upload for a client's hello. The current session joins its epoch; a new one raises it and takes
        over.

        `epoch` is what the session was sent earlier, if it was. If that is no longer the current one, another session
        has taken over, and this one gets TakenOver instead of taking the upload back. An empty session (a client
        without sessions) leaves the epoch as it is.
        """
        if epoch is not None and epoch < self.epoch and self.session not in ("", session):
            raise TakenOver
        self._check_no_parts()
        # A further connection that was being opened when the user paused; a resuming client omits the epoch.
        late = self.paused and session == self.session and epoch == self.epoch
        opened = self.move(Event.OPEN, now, paused=late, active_at=now)
        if self.paused and not late:
            opened = opened.noted(now, "resumed")
        if session in ("", self.session):
            return opened
        if self.state == State.UPLOADING:
            opened = opened.noted(now, "session", "a page was loaded again, or another client sends now")
        return replace(opened, session=session, epoch=self.epoch + 1)

    def claim(self, session: str) -> Ticket:
        """Claim the upload for a client with one offset, which becomes the only sender.

        State, pause and the time of the last activity stay.
        """
        if self.state not in RECEIVING:
            return self
        self._check_no_parts()
        return replace(self, session=session, epoch=self.epoch + 1)

    def _check_no_parts(self) -> None:
        if self.parts and self.state in RECEIVING:
            raise BadRequest("the file is being sent in parts; it can only be sent on in them")

    def store(self, ranges: Iterable[Range], epoch: int | None, now: float) -> Ticket:
        """Add stored ranges, which will be acknowledged. Raises TakenOver for an epoch that is no longer current."""
        if epoch is not None and epoch != self.epoch:
            raise TakenOver
        return self.move(Event.STORE, now, extents=self.extents | Extents(ranges), active_at=now)

    def pause(self, epoch: int | None, now: float) -> Ticket:
        """Pause for the user; the upload then has the longer idle limit."""
        if epoch is not None and epoch != self.epoch:
            raise TakenOver
        paused = self.move(Event.PAUSE, now, paused=True, active_at=now)
        return paused if self.paused else paused.noted(now, "paused")

    def cancel(self, reason: str, notice: Callback | None, now: float) -> Ticket:
        """Cancel for the user, the app (without a `notice` to it) or the server; what has arrived is discarded. A no-op
        when it already was.
        """
        if self.state == State.CANCELLED:
            return self
        return self.move(Event.CANCEL, now, reason=reason, callback=notice, paused=False, **_NOTHING)

    def expire(self, reason: str, notice: Callback | None, now: float) -> Ticket:
        """Expire after no activity of a client (then the app gets `notice`), or of an app that answered `wait`."""
        if self.state in RECEIVING:
            return self.move(Event.EXPIRE, now, reason=reason, callback=notice, paused=False, **_NOTHING)
        return self.move(Event.EXPIRE, now, reason=reason, error_code=HandoverFailed.code)

    # --- events of the server and the app -----------------------------------------------------------------------------

    def checkpoint(self, synced: Extents, epoch: int | None = None) -> Ticket:
        """Record that these extents are synced, by a sync of this epoch.

        In another epoch they may be other, unsynced bytes: then nothing is recorded.
        """
        if epoch not in (None, self.epoch):
            return self
        return replace(self, synced=self.synced | (synced & self.extents))

    def distrust(self) -> Ticket:
        """Keep only the synced extents, after a power cut or a failed fsync.

        The epoch rises and no session holds the ticket, so that every client queries the extents again.
        """
        data = self.store_data if self.synced else ""
        return self._without(self.synced, self.synced, data)

    def lose(self, kept: Extents) -> Ticket:
        """Keep only the extents that are in `kept`, because the store has lost the others.

        The epoch rises as in `distrust`. When nothing is kept, the store begins anew.
        """
        left = self.extents & kept
        data = self.store_data if left else ""
        return self._without(left, self.synced & kept, data)

    def _without(self, extents: Extents, synced: Extents, store_data: str) -> Ticket:
        changes: dict[str, Any] = {"extents": extents, "synced": synced, "store_data": store_data, "session": ""}
        return replace(self, epoch=self.epoch + 1, losses=self.losses + 1, **changes)

    def arrive(self, location: Location, notice: Callback, now: float, digest: str = "") -> Ticket:
        """Record that the file is complete and durable at `location`, and that the app must be called.

        If the first attempt of the `notice` begins with that, the state is `handing_over` at once.
        """
        whole = Extents([(0, self.size or 0)]) if self.order else self.extents
        changes = {"location": location, "file_kept": True, "extents": whole, "synced": whole, "callback": notice}
        arrived = self.move(Event.COMPLETE, now, digest=digest, **changes)
        return arrived.move(Event.CALL, now) if notice.attempts else arrived

    def spoil(self, digest: str, notice: Callback, now: float) -> Ticket:
        """Fail because the complete file has another digest than the app expects; the app gets `notice`."""
        reason = f"the file's SHA-256 is {digest}, not the expected one: it was changed before or while it was sent"
        changes = {"reason": reason, "error_code": DigestMismatch.code, "callback": notice, "digest": digest}
        return self.move(Event.SPOIL, now, **changes, **_NOTHING)

    def answered(self, answer: str, now: float) -> Ticket:
        """Record the app's answer `done` or `wait`."""
        event = Event.ANSWER_DONE if answer == "done" else Event.ANSWER_WAIT
        return self.move(event, now, callback=None)

    def refuse(self, reason: str, now: float) -> Ticket:
        """Fail the handover: the app refused the file, or was unreachable for too long."""
        return self.move(Event.REFUSE, now, reason=reason, error_code=HandoverFailed.code, callback=None)

    def finish(self, now: float) -> Ticket:
        """Finish for the app's finish_upload. A no-op when it was finished already."""
        return self.move(Event.FINISH, now, callback=None)

    def retry(self, notice: Callback, now: float) -> Ticket:
        """Restart a failed handover."""
        return self.move(Event.RETRY, now, reason="", error_code=0, callback=notice)
