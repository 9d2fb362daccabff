"""The forms of option values; tests/unit/settings/test_settings.py has their limits key by key."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incoming.settings.value_types import (
    duration,
    duration_text,
    parse_size,
    path,
    size_text,
    split_list,
    truth,
    worker_count,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("8388608", 8388608),
        ("8MiB", 8 * 1024**2),
        ("8 mib", 8 * 1024**2),
        ("1kB", 1000),
        ("1.5 GB", 1_500_000_000),
        ("0.5KiB", 512),
        ("2TiB", 2 * 1024**4),
        ("7B", 7),
    ],
)
def test_sizes_are_parsed(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "-1", "+1", "1e3", "0x10", "1_000", "1M", "1MiB/s", "0.3B", "1.", ".5", "9" * 19, "\u0661"]
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**53))
def test_the_text_of_a_size_is_exact(size: int) -> None:
    assert parse_size(size_text(size)) == size


@given(st.integers(min_value=0, max_value=10**8))
def test_the_text_of_a_duration_is_exact(seconds: int) -> None:
    assert duration(0, 1e9).parse(duration_text(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "1 y", "1.s", "-1s", "1h30m", "inf", "nan", "1S"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        duration(0, 10).parse(text)


def test_booleans_are_parsed_in_every_spelling() -> None:
    assert all(truth(word) for word in ("true", "Yes", "On", "1", "T"))
    assert not any(truth(word) for word in ("FALSE", "no", "OFF", "0", "f"))
    for word in ("", "onn", "maybe", " true"):
        with pytest.raises(ValueError, match="neither"):
            truth(word)


def test_lists_are_split_and_stripped() -> None:
    assert split_list(" a , b,,c ") == ["a", "b", "c"]
    assert split_list("") == []


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_auto_workers_follow_the_cores(cores: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default one for each usable core, up to the number that one database writer can serve."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)))
    assert worker_count().parse("auto") == workers
    assert worker_count().parse("64") == 64


def test_paths_expand_the_home_directory_and_are_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert path().parse("~/uploads") == Path("/home/somebody/uploads")
    for text in ("", "a\0b"):
        with pytest.raises(ValueError, match="empty"):
            path().parse(text)
