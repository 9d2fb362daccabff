"""The work of `incoming send`: a few files at a time, each with its ticket, continued where an earlier run ended.

Decides which files are sent, with which ticket, and what a failure means for the exit code. Never sends a file as the
continuation of another one, and never sends twice what an earlier run of the same command has finished.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from incoming.cli.send_codes import AGAIN, CHANGED, COMMAND, OK, REFUSED, USAGE
from incoming.cli.send_progress import Display, display_for
from incoming.cli.send_records import AlreadyRunning, Record, Records, absolute, state_directory
from incoming.cli.terminal import complain, explain
from incoming.cli.ticket_source import NoTicket, TicketRefused, TicketSource, Wanted, source_for
from incoming.client.backoff import Backoff
from incoming.client.errors import NotTheServer, Unreachable
from incoming.client.upload.address import UploadAddress, upload_address
from incoming.client.upload.http_connection import UploadResource, client_session
from incoming.client.upload.outcome import Outcome
from incoming.client.upload.piped import Mark, PipedUploader
from incoming.client.upload.progress import Progress
from incoming.client.upload.source_file import SourceChanged
from incoming.client.upload.uploader import Uploader
from incoming.core.errors import FileChanged, UnknownTicket, UploadCancelled, UploadError

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Item:
    """One file to send. `path` is how the command line leads to it, `below` how its directory does."""

    path: str
    name: str
    below: str

    @property
    def key(self) -> str:
        """What its record is kept under."""
        return self.path if self.path == STDIN else absolute(self.path)


class Sending:
    """One run of the command."""

    def __init__(
        self, given: argparse.Namespace, environment: Mapping[str, str], tls: ssl.SSLContext | None = None
    ) -> None:
        self._given = given
        self._tls = tls
        self._source: TicketSource = source_for(given.url, given.ticket_url, given.ticket_from, environment, tls)
        where = [given.url, given.ticket_url or "", given.ticket_from or ""]
        # Shared equally: all together keep to it, however many there are.
        self._rate: int = max(1, given.rate // given.parallel) if given.rate else 0
        self._records = Records(given.state_dir or state_directory(environment), given.files, where)

    async def run(self) -> int:
        """Send every file, and return the exit code."""
        try:
            with self._records.locked(), display_for(self._given.progress) as display:
                codes: set[int] = set()

                def unreadable(error: OSError) -> None:
                    display.failed(str(error.filename), error.strerror or str(error), USAGE)
                    codes.add(USAGE)

                async with client_session() as self._client:
                    await self._send_all(self._items(unreadable), display, codes)
                if not any(codes):
                    self._records.forget_all()
        except AlreadyRunning as error:
            complain(COMMAND, str(error))
            return AGAIN
        except OSError as error:
            complain(COMMAND, f"cannot remember uploads: {explain(error)}")
            return USAGE
        if not codes:
            complain(COMMAND, "there is no file in what was given")
        return AGAIN if AGAIN in codes else max(codes, default=OK)

    async def _send_all(self, items: Iterator[Item], display: Display, codes: set[int]) -> None:
        """Send files, begun in their order, at most `--parallel` at once; add the exit code of each."""
        running: dict[asyncio.Task[int], str] = {}
        try:
            for item in items:
                # The same file again has the same record: it has to wait for the first.
                while len(running) >= self._given.parallel or item.key in running.values():
                    await self._one_ended(running, codes)
                running[asyncio.create_task(self._send(item, display))] = item.key
            while running:
                await self._one_ended(running, codes)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _one_ended(self, running: dict[asyncio.Task[int], str], codes: set[int]) -> None:
        ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            del running[task]
            codes.add(task.result())

    def _items(self, unreadable: Callable[[OSError], None]) -> Iterator[Item]:
        for given in self._given.files:
            if given == STDIN:
                yield Item(STDIN, self._given.name or "stdin", self._given.name or "stdin")
            elif Path(given).is_dir():
                yield from _files_below(Path(given), unreadable)
            else:
                name = self._given.name or Path(given).name
                yield Item(given, name, name)

    async def _send(self, item: Item, display: Display) -> int:
        """Send a file, report what has become of it, and return its exit code."""
        try:
            outcome = await self._send_item(item, display)
        except (SourceChanged, FileChanged) as error:
            cure = "get a new ticket" if self._source.is_fixed else "--restart begins anew"
            code, text = CHANGED, f"{error}; {cure}"
        except (Unreachable, NoTicket) as error:
            code, text = AGAIN, f"{error}; run the same command again to continue"
        except UploadError as error:
            code, text = (AGAIN if error.retry else REFUSED), str(error)
        except (NotTheServer, TicketRefused) as error:
            code, text = REFUSED, str(error)
        except (OSError, ValueError) as error:
            code, text = USAGE, str(error)
        else:
            display.done(item.path, outcome)
            return OK
        display.failed(item.path, text, code)
        return code

    async def _send_item(self, item: Item, display: Display) -> Outcome | None:
        """Return the outcome, None if an earlier run has sent the file. Forgets what cannot be continued."""
        known = self._records.find(item.key)
        if known and self._given.restart:
            await self._discard(known)
            known = None
        found = None if item.path == STDIN else await asyncio.to_thread(os.stat, item.path)
        if known and found and not known.is_of(found):
            if not known.is_done:
                raise SourceChanged(f"{item.path} has changed since its upload began")
            known = None
        if known and known.is_done:
            return None
        try:
            return await self._continue(item, known or await self._new_record(item, found, display), display)
        except (UnknownTicket, UploadCancelled):
            self._records.forget(item.key)
            if known is None or self._source.is_fixed:
                raise
        except UploadError as error:
            if not error.retry and not isinstance(error, FileChanged):
                self._records.forget(item.key)
            raise
        # The server has given up what an earlier run had begun: with a new ticket it begins anew.
        return await self._continue(item, await self._new_record(item, found, display), display)

    async def _new_record(self, item: Item, found: os.stat_result | None, display: Display) -> Record:
        size, metadata = found.st_size if found else None, dict(self._given.metadata)
        address = await self._ticket(Wanted(item.name, item.below, size, metadata), item, display)
        record = Record(item.key, address.http, found.st_size if found else None, found.st_mtime_ns if found else None)
        self._records.keep(record)
        return record

    async def _ticket(self, wanted: Wanted, item: Item, display: Display) -> UploadAddress:
        """Ask for a ticket until there is one. Raises NoTicket when there was none for too long."""
        backoff = Backoff(self._given.give_up_after)
        while True:
            try:
                return await self._source.ticket(wanted)
            except NoTicket as error:
                pause = backoff.next_pause()
                if pause is None:
                    raise
                display.show(item.path, Progress("retrying", 0, wanted.size, note=str(error)))
                await asyncio.sleep(pause)

    async def _continue(self, item: Item, record: Record, display: Display) -> Outcome:
        given = self._given
        if item.path == STDIN:
            outcome = await self._pipe(record, item, display)
        else:
            outcome = await Uploader(
                record.url,
                item.path,
                name=item.name,
                connections=given.connections,
                rate=self._rate,
                transport=given.transport,
                give_up_after=given.give_up_after,
                on_progress=lambda progress: display.show(item.path, progress),
                tls=self._tls,
                client=self._client,
            ).send()
        self._records.keep(record.done())
        return outcome

    async def _pipe(self, record: Record, item: Item, display: Display) -> Outcome:
        def remember(mark: Mark) -> None:
            marked = replace(record, piped_length=mark.length, piped_digest=mark.digest)
            self._records.keep(marked, synced=False)

        before = Mark(record.piped_length, record.piped_digest) if record.piped_digest else None
        return await PipedUploader(
            record.url,
            sys.stdin.buffer,
            name=item.name,
            rate=self._rate,
            give_up_after=self._given.give_up_after,
            on_progress=lambda progress: display.show(item.path, progress),
            tls=self._tls,
            before=before,
            remember=remember,
        ).send()

    async def _discard(self, record: Record) -> None:
        """Cancel what an earlier run has begun, if the server still lets it."""
        address = upload_address(record.url)
        if address is not None and not record.is_done and not self._source.is_fixed:
            try:
                await UploadResource(self._client, address, self._tls).cancel("begun anew")
            except (UploadError, NotTheServer, Unreachable) as error:
                complain(COMMAND, f"the earlier upload could not be cancelled: {error}")
        self._records.forget(record.path)


def _files_below(directory: Path, unreadable: Callable[[OSError], None]) -> Iterator[Item]:
    """Yield the regular files in a directory tree, by name; links and devices are left out, and named.

    `unreadable` is told of each directory that cannot be read: what is in it is not sent, and must not pass for sent.
    """
    for folder, folders, names in os.walk(directory, onerror=unreadable):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                yield Item(str(path), name, str(path.relative_to(directory)))
            else:
                complain(COMMAND, f"{path} is no regular file and is left out")
