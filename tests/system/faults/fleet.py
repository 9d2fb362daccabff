"""Concurrent uploads of all kinds, each with its expected outcome, for fault injection."""

import asyncio
import contextlib
import random
from concurrent.futures import Future
from dataclasses import dataclass, field

import requests

from tests.support.upload_client import HTTP, PUT, WEBSOCKET
from tests.system.faults.consistency import sha256
from tests.system.faults.load import KIB, MIB, Load, new_ticket
from tests.system.faults.session_client import TAKEN_OVER, SessionClient, Welcome, expected_content

PATIENCE = 3.0
"""Seconds that clients of this fleet wait for an answer."""

SIZES = (0, 1, 5000, 300 * KIB, 2 * MIB, 2 * MIB, 6 * MIB, 12 * MIB)
CHUNKS = (64 * KIB, 256 * KIB, MIB)


@dataclass
class Upload:
    """One ticket and all its clients."""

    ticket_id: str
    content: bytes
    keep: bool
    fingerprint: str | None
    open_to_operators: bool
    """Whether the operator of the machine may lay hands on the partial file."""
    clients: list[SessionClient] = field(default_factory=list)
    futures: list["Future[str]"] = field(default_factory=list)
    welcomes: list[Welcome] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    """What befell it in particular, for whoever reads of a problem."""
    cancel_asked: bool = False

    @property
    def current(self) -> SessionClient:
        return self.clients[-1]

    @property
    def is_over(self) -> bool:
        return all(future.done() for future in self.futures)

    @property
    def taken_over(self) -> bool:
        return len(self.clients) > 1

    @property
    def has_told_fingerprint(self) -> bool:
        return self.fingerprint is not None and self.clients[0].way != PUT

    @property
    def may_be_mistaken(self) -> bool:
        """Return whether another session may send another file undetected; each byte then has one owner."""
        return self.fingerprint is None and all(client.way != PUT for client in self.clients)

    @property
    def has_losses(self) -> bool:
        """Return whether the server may revoke acknowledgements, because stored bytes may have been lost."""
        return any(client.forgiving for client in self.clients)

    def allow_losses(self, why: str) -> None:
        self.history.append(why)
        for client in self.clients:
            client.forgiving = True

    def outcomes(self) -> list[str]:
        """Return the outcome of each client: its state, or the text of its error."""
        found = []
        for future in self.futures:
            error = future.exception()
            found.append(future.result() if error is None else f"{type(error).__name__}: {error}")
        return found

    def expected_content(self) -> bytes:
        return expected_content(self.content, list(self.welcomes))

    def __str__(self) -> str:
        ways = ", ".join(
            f"{client.way} {client.state} {client.acked.size}/{len(self.content)} {dict(client.errors)}"
            for client in self.clients
        )
        return f"{self.ticket_id} ({'; '.join([ways, *self.history])})"


class Fleet(Load):
    """`lines` are the ports of clients; `port` is the one for tickets."""

    lines: tuple[int, ...] = ()
    dest_type: str = "file"
    rates: tuple[int, ...] = (MIB, 2 * MIB, 4 * MIB)
    """Bytes a second of one client."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.uploads: list[Upload] = []

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(TimeoutError):
            super().__exit__(*error)  # type: ignore[arg-type]

    def launch(self) -> Upload:
        """Start another upload of a random kind."""
        chance = self.random
        content = chance.randbytes(chance.choice(SIZES))
        keep = chance.random() < 0.5
        fingerprint = f"sha256:{sha256(content)}" if chance.random() < 0.5 else None
        ticket_id = new_ticket(self.port, self.app.url, keep=keep, patience=120.0, destType=self.dest_type)
        upload = Upload(ticket_id, content, keep, fingerprint, chance.random() < 0.4)
        self._send(upload, content, chance.choice((WEBSOCKET, HTTP, PUT)))
        self.uploads.append(upload)
        return upload

    def take_over(self, upload: Upload, *, by_another_file: float = 0.5) -> None:
        """Let another session send under the same ticket, with this probability another file where that is
        undetectable.
        """
        other = upload.may_be_mistaken and self.random.random() < by_another_file
        content = self.random.randbytes(len(upload.content)) if other else upload.content
        upload.history.append(f"taken over by {'another' if other else 'the same'} file")
        self._send(upload, content, self.random.choice((WEBSOCKET, HTTP)), forgiving=upload.has_losses)

    def take_over_some(self, chance: random.Random) -> bool:
        """Let other sessions send under the tickets of up to three uploads; return whether there was any."""
        uploads = self.sending()
        for upload in chance.sample(uploads, min(3, len(uploads))):
            self.take_over(upload)
        return bool(uploads)

    def _send(self, upload: Upload, content: bytes, way: str, *, forgiving: bool = False) -> None:
        client = SessionClient(
            self.random.choice(self.lines),
            upload.ticket_id,
            content,
            way,
            fingerprint=upload.fingerprint,
            welcomed=upload.welcomes.append,
            chunk=self.random.choice(CHUNKS),
            rate=self.random.choice(self.rates),
            patience=PATIENCE,
            forgiving=forgiving,
        )
        self.clients.append(client)
        upload.clients.append(client)
        upload.futures.append(asyncio.run_coroutine_threadsafe(client.run(), self._loop))

    def sending(self) -> list[Upload]:
        """Return the uploads that have begun and have bytes to send."""
        return [
            upload
            for upload in self.uploads
            if upload.current.state == "uploading" and 0 < upload.current.acked.size < len(upload.content)
        ]

    def retire_ended(self) -> list[Upload]:
        """Remove the uploads whose clients have all ended."""
        ended = [upload for upload in self.uploads if upload.is_over]
        self.uploads = [upload for upload in self.uploads if upload not in ended]
        gone = {id(client) for upload in ended for client in upload.clients}
        self.clients = [client for client in self.clients if id(client) not in gone]
        return ended

    def _raise_what_failed(self) -> None:
        """Ignore failures, which are in the outcomes of each upload."""

    def cancel_one(self, chance: random.Random) -> bool:
        """Cancel one upload; return whether there was any and the server was reached."""
        uploads = self.sending()
        return bool(uploads) and self.cancel(chance.choice(uploads))

    def cancel(self, upload: Upload) -> bool:
        """Cancel for the user; return False if the server could not be reached. It may be too late."""
        upload.cancel_asked = True
        url = f"http://127.0.0.1:{self.port}/incoming/0.1/frontend/upload/{upload.ticket_id}?reason=enough"
        try:
            return requests.delete(url, timeout=PATIENCE).status_code == 200
        except requests.RequestException:
            return False


def problems_of(upload: Upload) -> list[str]:
    """Return the violations of an upload whose clients have all ended."""
    wrong = [what for client in upload.clients for what in client.broken]
    outcomes = upload.outcomes()
    allowed = {"finished", TAKEN_OVER} if upload.taken_over else {"finished"}
    allowed |= {"cancelled"} if upload.cancel_asked else set()
    wrong += [f"{upload}: a client ended with {outcome}" for outcome in outcomes if outcome not in allowed]
    finals = {outcome for outcome in outcomes if outcome in ("finished", "cancelled")}
    if len(finals) != 1:
        wrong.append(f"{upload}: the clients ended as {outcomes}")
    return wrong


def chance_of(*seed: object) -> random.Random:
    """Return random numbers that depend only on the seed."""
    return random.Random(" ".join(map(str, seed)))
