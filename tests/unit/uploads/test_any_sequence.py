"""Whatever is sent in whatever order, and whatever fails meanwhile: the same file, and no byte is believed in vain.

A model of bytes against real stores: chunks that overlap, come twice, out of order, at once, from uploaders that take
over from each other, by several workers; disks that refuse, databases that refuse, syncs that lose what they were
given, workers that are killed, power cuts.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from incoming.core.errors import StorageFailed, StorageFull, TakenOver, UploadError
from incoming.core.extents import Extents
from incoming.core.ticket import RECEIVING, Identity, State, Ticket
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.writes import flush_schedule
from tests.support.stores import until
from tests.support.upload_service_bench import Bench

T = TypeVar("T")

SIZE = 60
CONTENT = bytes(offset * 37 % 251 + 1 for offset in range(SIZE))
WORKERS = (0, 1)
SESSIONS = ("session-1", "session-2")

positions = st.integers(0, SIZE)
ranges = st.tuples(positions, positions).map(sorted).filter(lambda pair: pair[0] < pair[1])
workers = st.sampled_from(WORKERS)


def under_way(bench: Bench) -> set[asyncio.Task[Any]]:
    """What this worker is doing by itself."""
    upload_service = bench.upload_service
    running = [task for upload in upload_service._uploads.values() for task in upload._running()]
    return {*upload_service._tasks, *upload_service._finalising.values(), *upload_service._listeners._tasks, *running}


class AnySequence(RuleBasedStateMachine):
    """One upload and everything that may happen to it before it has arrived."""

    part_size = 0
    """Bytes of the parts of a store that buffers; 0 for files, which do not."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="incoming-"))
        self.benches: list[Bench] = []
        self.boots = 0
        self.acked = Extents()
        """What must be there: acked since the last fault that may take it away."""
        self.synced = Extents()
        """What must be there even after such a fault."""
        self.losses = 0
        """Faults of that kind that have been hit."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Does it, and lets everything that follows from it happen."""

        async def both() -> T:
            result = await work
            while tasks := {task for bench in self.benches for task in under_way(bench)}:
                await asyncio.wait(tasks)
            return result

        return self.loop.run_until_complete(both())

    @initialize(durability=st.sampled_from(["process", "power"]))
    def begin(self, durability: str) -> None:
        async def begin() -> None:
            self.durability = durability
            self.benches = [self._worker() for _ in WORKERS]
            await self.benches[0].tickets.distrust_after_boot("boot 0")
            self.ticket_id = await self.benches[0].new()
            self.open: list[dict[str, tuple[ActiveUpload, int | None]]] = [{} for _ in WORKERS]

        self.run(begin())

    def _worker(self) -> Bench:
        return Bench(self.directory, part_size=self.part_size, checkpoint_seconds=3600.0, durability=self.durability)

    async def _ticket(self) -> Ticket:
        return await self.benches[0].upload_service.get_ticket(self.ticket_id)

    # --- who comes ----------------------------------------------------------------------------------------------------

    @rule(worker=workers, session=st.sampled_from(SESSIONS), again=st.booleans())
    def hello(self, worker: int, session: str, again: bool) -> None:
        """An uploader starts, or reconnects by itself and tells the epoch that it had."""
        before = self.open[worker].pop(session, None)

        async def hello() -> None:
            if before is not None:
                self.benches[worker].upload_service.leave(before[0])
            try:
                epoch = before[1] if before is not None and again else None
                upload = await self.benches[worker].open(self.ticket_id, SIZE, session, epoch)
                self.open[worker][session] = (upload, upload.ticket.epoch)
            except TakenOver:
                assert again
            except UploadError:
                return

        self.run(hello())

    @rule(worker=workers)
    def come_without_a_session(self, worker: int) -> None:
        async def come() -> None:
            if "" in self.open[worker]:
                return
            with contextlib.suppress(UploadError):
                upload = await self.benches[worker].upload_service.open_plain(self.ticket_id, Identity(size=SIZE))
                self.open[worker][""] = (upload, None)

        self.run(come())

    @rule(worker=workers, session=st.sampled_from(("", *SESSIONS)))
    def go(self, worker: int, session: str) -> None:
        async def go() -> None:
            if session in self.open[worker]:
                upload, _ = self.open[worker].pop(session)
                self.benches[worker].upload_service.leave(upload)

        self.run(go())

    # --- what they send -----------------------------------------------------------------------------------------------

    @rule(chunks=st.lists(st.tuples(workers, st.sampled_from(("", *SESSIONS)), ranges), min_size=1, max_size=6))
    def send(self, chunks: list[tuple[int, str, list[int]]]) -> None:
        """All at once. Each is acked, and then there, or refused by an error of the tree."""

        async def send() -> None:
            sent = []
            for worker, session, (start, end) in chunks:
                if session in self.open[worker]:
                    upload, epoch = self.open[worker][session]
                    sent.append(((start, end), upload.write(start, CONTENT[start:end], epoch)))
            results = await asyncio.gather(*(writing for _, writing in sent), return_exceptions=True)
            for (chunk, _), result in zip(sent, results, strict=True):
                if isinstance(result, BaseException):
                    assert isinstance(result, UploadError), result
                else:
                    self.acked = self.acked.add(*chunk)

        self.run(send())

    @rule(worker=workers)
    def checkpoint(self, worker: int) -> None:
        async def checkpoint() -> None:
            upload = self.benches[worker].upload_service._uploads.get(self.ticket_id)
            if upload is not None:
                with contextlib.suppress(UploadError):
                    await upload.checkpoints.take()

        self.run(checkpoint())

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    @rule(worker=workers, call=st.sampled_from(["write", "sync", "complete"]), full=st.booleans())
    def disk_refuses(self, worker: int, call: str, full: bool) -> None:
        self.benches[worker].files.faults.fail(call, StorageFull("full") if full else StorageFailed("broken"))

    @rule(worker=workers, after=st.integers(0, 2))
    def database_refuses(self, worker: int, after: int) -> None:
        self.benches[worker].tickets.faults.fail("update", *([None] * after), StorageFailed("locked"))

    @rule(worker=workers)
    def sync_loses(self, worker: int) -> None:
        self.benches[worker].files.lose_unsynced(self.ticket_id)

    @rule(worker=workers)
    def kill(self, worker: int) -> None:
        """Nothing that was acked may be gone."""

        async def kill() -> None:
            await self._abandon(self.benches[worker])
            self.benches[worker] = self._worker()

        self.open[worker] = {}
        self.run(kill())

    @rule()
    def power_cut(self) -> None:
        """What was not synced is there, gone or garbage; here garbage, the worst."""

        async def power_cut() -> None:
            for bench in self.benches:
                await self._abandon(bench)
            self.benches[0].files.garble_unsynced(self.ticket_id)
            self.benches = [self._worker() for _ in WORKERS]
            self.boots += 1
            await self.benches[0].tickets.distrust_after_boot(f"boot {self.boots}")

        self.open = [{} for _ in WORKERS]
        self.acked = self.synced
        self.run(power_cut())

    async def _abandon(self, bench: Bench) -> None:
        # That a sync has failed is recorded first: dying just then, with a database that refuses, is a third fault.
        bench.tickets.faults.clear()
        for upload in bench.upload_service._uploads.values():
            await upload.checkpoints.clear()
            upload.checkpoints.stop()
        for task in under_way(bench):
            task.cancel()
        await asyncio.gather(*under_way(bench), return_exceptions=True)
        await bench.close()

    # --- what must always hold ----------------------------------------------------------------------------------------

    @invariant()
    def what_was_acked_is_believed(self) -> None:
        ticket = self.run(self._ticket())
        losses = self._losses()
        if losses != self.losses:
            self.losses = losses
            self.acked = self.synced
            # Until another worker has the news, which takes milliseconds, it may acknowledge what it believes is there.
            # What was acknowledged before and then lost is asked for again all the same.
            for bench in self.benches:
                if (upload := bench.upload_service._uploads.get(self.ticket_id)) is not None:
                    upload.adopt(ticket)
        for start, end in self.acked | self.synced:
            assert ticket.extents.covers(start, end), f"acked {self.acked}, believed {ticket.extents}"
        for start, end in self.synced:
            assert ticket.synced.covers(start, end), f"was synced {self.synced}, is {ticket.synced}"
        self.synced = ticket.synced
        if self.durability == "power":
            assert ticket.synced == ticket.extents

    def _losses(self) -> int:
        counts = (bench.files.faults.hit for bench in self.benches)
        return sum(hit[call] for hit in counts for call in ("sync", "complete", "lost"))

    @invariant()
    def what_is_believed_is_there(self) -> None:
        ticket = self.run(self._ticket())
        if any(
            upload.checkpoints.suspect for bench in self.benches for upload in bench.upload_service._uploads.values()
        ):
            return  # nothing is acked until the loss is recorded
        files = self.benches[0].files
        path = next((path for path in (files.final(self.ticket_id), files.part(self.ticket_id)) if path.exists()), None)
        content = path.read_bytes() if path else b""
        for start, end in ticket.extents:
            assert content[start:end] == CONTENT[start:end], f"[{start}, {end}) of {ticket.extents} is not there"
        if ticket.state not in RECEIVING:
            assert content == CONTENT

    def teardown(self) -> None:
        """When nothing is wrong any more, the file arrives."""
        if self.benches:
            self.run(self._arrive())
        self.loop.close()
        shutil.rmtree(self.directory)

    async def _arrive(self) -> None:
        while self.benches:
            await self._abandon(self.benches.pop())
        bench = self._worker()

        async def tried() -> bool:
            try:
                upload = await bench.open(self.ticket_id, SIZE, "session-3")
                await upload.write(0, CONTENT, upload.ticket.epoch)
                state = (await bench.upload_service.settled(upload)).state
                bench.upload_service.leave(upload)
            except UploadError:
                return False
            return state == State.ARRIVED

        await until(tried, "the file")
        await bench.idle()
        assert bench.content(self.ticket_id) == CONTENT
        await bench.close()


AnySequence.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestAnySequence = pytest.mark.promise(1, 3, 111)(AnySequence.TestCase)


class AnySequenceInParts(AnySequence):
    """With a store that buffers, and is asked to flush soon: what it holds back is not acked."""

    part_size = 16

    @rule(worker=workers)
    def flush_refuses(self, worker: int) -> None:
        self.benches[worker].files.faults.fail("flush", StorageFailed("broken"))


AnySequenceInParts.TestCase.settings = settings(max_examples=30, stateful_step_count=20)

TestAnySequenceInParts = pytest.mark.usefixtures("soon")(AnySequenceInParts.TestCase)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush_schedule, "FLUSH_QUIET", 0.01)
