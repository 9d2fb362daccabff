"""The fuzzer, for some seconds in each run of the tests and a minute in CI; and that it detects defects."""

import os
import subprocess
import sys

import pytest

from incoming.core.ticket import Identity
from incoming.wire import messages, resumable_upload, tus, websocket_frames
from incoming.wire.http import content_range
from incoming.wire.messages import Cancel, Hello
from tests.support.tools import ROOT
from tools import fuzz, fuzz_targets

SECONDS = 60 if os.environ.get("CI") else 15
"""For all targets together. CI has a minute for it."""


@pytest.mark.slow
def test_fuzzing_finds_no_defect() -> None:
    command = [sys.executable, "tools/fuzz.py", "--seconds", str(SECONDS)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("fuzzing ") == len(fuzz.NAMES)


def test_all_targets_are_tried_with_or_without_atheris() -> None:
    assert tuple(fuzz_targets.TARGETS) == fuzz.NAMES
    for name in fuzz.NAMES:
        assert fuzz.by_chance(name, 0.2) > 0


def test_valid_inputs_are_accepted() -> None:
    for name, target in fuzz_targets.TARGETS.items():
        assert fuzz_targets.seeds(name)
        for seed in fuzz_targets.seeds(name):
            target(seed)


@pytest.mark.parametrize(
    "defect",
    [
        Hello("short", None, Identity("a", 1)),
        Hello("long-enough", None, Identity("a", 2**53)),
        Hello("long-enough", None, Identity("a", None)),
        Hello("long-enough", True, Identity("a", 1)),
        Hello("long-enough", None, Identity("\ud800", 1)),
        Hello("long-enough", None, Identity("a" * 1025, 1)),
        Cancel("\ud800"),
        ValueError("undocumented"),
    ],
    ids=str,
)
def test_a_defect_is_detected(monkeypatch: pytest.MonkeyPatch, defect: object) -> None:
    def broken(text: str) -> object:
        if isinstance(defect, Exception):
            raise defect
        return defect

    monkeypatch.setattr(messages, "parse_control", broken)
    with pytest.raises((AssertionError, ValueError)):
        fuzz.by_chance("control", 5)


def test_an_invalid_range_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = content_range.ContentRange(5, 3, 2**60)
    monkeypatch.setattr(content_range.ContentRange, "close", lambda self, length: odd)
    with pytest.raises(AssertionError):
        fuzz.by_chance("ranges", 5)


def test_an_incomplete_chunk_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "parse_chunk", lambda message: (0, memoryview(b"")))
    with pytest.raises(AssertionError):
        fuzz.by_chance("chunk", 5)


def test_frames_that_depend_on_segmentation_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = websocket_frames.FrameReader.feed
    monkeypatch.setattr(websocket_frames.FrameReader, "feed", lambda self, data: feed(self, bytes(data)[:-1]))
    with pytest.raises(AssertionError):
        fuzz.by_chance("frames", 5)


def test_an_offset_of_tus_above_the_limit_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tus, "offset_of", lambda headers: 2**53)
    with pytest.raises(AssertionError):
        fuzz.by_chance("tus", 5)


def test_an_offset_above_the_limit_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable_upload, "append_offset", lambda headers: 2**53)
    with pytest.raises(AssertionError):
        fuzz.by_chance("resumable", 5)
