"""What is right in a chaos run: each upload that has ended, its callbacks and its file are compared with the model."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.system.faults.chaos_app import ChaosApp, problems_of_callbacks
from tests.system.faults.consistency import sha256
from tests.system.faults.fleet import Fleet, Upload, chance_of, problems_of

# Tornado's client cannot be told to close a WebSocket whose handshake takes too long.
IGNORE_UNCLOSED = pytest.mark.filterwarnings("ignore:.*WebSocketClientConnection.*")


@dataclass
class Run:
    """The record of a run: figures, the faults, and violations."""

    started: float = field(default_factory=time.monotonic)
    figures: Counter[str] = field(default_factory=Counter)
    errors: Counter[int] = field(default_factory=Counter)
    chronicle: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    stories: dict[str, str] = field(default_factory=dict)

    def note(self, what: str) -> None:
        self.chronicle.append(f"{time.monotonic() - self.started:7.2f} {what}")

    def blame(self, problems: list[str]) -> None:
        for problem in problems:
            self.note(f"PROBLEM {problem}")
        self.problems += problems

    def close(self, upload: Upload, app: ChaosApp) -> None:
        """Judges an upload that has ended."""
        self.blame(problems_of(upload))
        digest = sha256(upload.expected_content())
        cancelled = "cancelled" in upload.outcomes()
        self.stories[upload.ticket_id] = str(upload)
        self.ended[upload.ticket_id] = "cancelled" if cancelled else digest
        if not cancelled:
            self.blame(_problems_of_the_kept_file(upload, app, digest))
        self.figures["uploads"] += 1
        self.figures["uploads cancelled"] += cancelled
        self.figures["uploads taken over"] += upload.taken_over
        self.figures["uploads with losses allowed"] += upload.has_losses
        self.figures["bytes"] += len(upload.content)
        for client in upload.clients:
            self.figures["bytes sent"] += client.sent
            self.figures["reconnections"] += client.reconnects
            self.figures["connections lost with chunks in flight"] += client.cuts_in_flight
            self.errors += client.errors


def _problems_of_the_kept_file(upload: Upload, app: ChaosApp, digest: str) -> list[str]:
    """Check that a file that the application keeps is unchanged; then remove it."""
    paths = {one.path for one in app.snapshot() if one.ticket_id == upload.ticket_id}
    if not upload.keep or upload.ticket_id in app.moved:
        return []
    if len(paths) != 1:
        return [f"{upload}: the application was given the paths {paths}"]
    path = paths.pop()
    try:
        is_right = sha256(app.read(path)) == digest
    except FileNotFoundError:
        is_right = False
    app.remove(path)
    return [] if is_right else [f"{upload}: the file that its application keeps is gone or changed"]


def renew(fleet: Fleet, app: ChaosApp, run: Run, wanted: int) -> None:
    """Check the uploads that have ended, and start new ones."""
    for upload in fleet.retire_ended():
        run.close(upload, app)
    while len(fleet.uploads) < wanted:
        fleet.launch()


def let_all_end(fleet: Fleet, app: ChaosApp, run: Run) -> None:
    """Wait until every upload has ended and its application was called; blame what is not."""
    deadline = time.monotonic() + 150
    while fleet.uploads and time.monotonic() < deadline:
        renew(fleet, app, run, 0)
        time.sleep(0.1)
    run.blame([f"{upload} does not end" for upload in fleet.uploads])
    unfinished = {upload.ticket_id for upload in fleet.uploads}
    wait = time.monotonic() + 20
    heard = app.snapshot
    while time.monotonic() < wait and set(run.ended) - {one.ticket_id for one in heard()}:
        time.sleep(0.1)
    run.blame(
        problems_of_callbacks([one for one in heard() if one.ticket_id not in unfinished], run.ended, run.stories)
    )


def endless_schedule(names: Sequence[str], seed: int) -> Iterator[str]:
    """All faults in a random order, again and again."""
    chance = chance_of(seed, "schedule")
    while True:
        yield from chance.sample(names, len(names))


def report(run: Run, app: ChaosApp, hits: Counter[str]) -> str:
    """Return the figures of a run."""
    faults = ", ".join(f"{name} {count}" for name, count in sorted(hits.items()))
    moods = ", ".join(f"{name} {count}" for name, count in sorted(app.moods.items()))
    errors = ", ".join(f"{code}: {count}" for code, count in sorted(run.errors.items()))
    figures = ", ".join(f"{name} {count}" for name, count in run.figures.items())
    return (
        f"{time.monotonic() - run.started:.0f} s\n{figures}\nfaults hit: {faults}\napp: {moods}\nerrors told: {errors}"
    )


def assert_no_problems(run: Run, tmp_path: Path, seed: int) -> None:
    """Says what was wrong and what was done before."""
    chronicle = "\n".join(run.chronicle)
    (tmp_path / "chronicle.txt").write_text(chronicle)
    told = "\n".join(run.problems)
    assert not run.problems, f"{len(run.problems)} problems, seed {seed}; see {tmp_path}:\n{told}\n\n{chronicle}"
