"""Which bytes go next: everything once, what was lost once more, and nothing for ever."""

import random

import pytest

from incoming.client.upload.schedule import Schedule
from incoming.core.extents import Extents

NOTHING = Extents()


def test_missing_bytes_go_in_order() -> None:
    schedule = Schedule(100)
    schedule.welcome(Extents([(10, 20), (50, 100)]))
    taken = [schedule.take(25, 0.0) for _ in range(4)]
    assert taken == [(0, 10), (20, 45), (45, 50), None]
    assert (schedule.arrived, schedule.in_flight, schedule.has_more) == (60, 40, False)


def test_an_empty_file_is_complete() -> None:
    schedule = Schedule(0)
    assert schedule.is_complete
    assert schedule.take(1, 0.0) is None


def test_what_was_lost_goes_again() -> None:
    schedule = Schedule(10)
    assert schedule.take(10, 0.0) == (0, 10)
    schedule.lost((0, 10))
    assert schedule.take(4, 0.0) == (0, 4)


def test_no_chunk_crosses_the_border_of_a_part() -> None:
    schedule = Schedule(100, alignment=32)
    schedule.welcome(Extents([(0, 10)]))
    assert [schedule.take(50, 0.0) for _ in range(4)] == [(10, 32), (32, 64), (64, 96), (96, 100)]


def test_a_disk_that_has_lost_bytes_gets_them_again() -> None:
    schedule = Schedule(10)
    schedule.acknowledged(schedule.take(10, 0.0) or (0, 0))
    assert schedule.is_complete
    schedule.welcome(Extents([(0, 5)]))
    assert schedule.take(10, 0.0) == (5, 10)


def test_a_slow_chunk_is_helped_by_one_other_connection() -> None:
    schedule = Schedule(10)
    slow = schedule.take(10, 0.0)
    assert slow
    assert schedule.take_again(10, Extents([slow]), 5.0) is None, "not by its own"
    assert schedule.take_again(9, NOTHING, 5.0) is None, "not by one that sends smaller chunks"
    assert schedule.take_again(10, NOTHING, 0.0) is None, "not at once"
    assert schedule.take_again(10, NOTHING, 5.0) == slow
    assert schedule.take_again(10, NOTHING, 5.0) is None, "not by a third"
    schedule.lost(slow)
    assert schedule.take(10, 0.0) is None, "the other one still has it"
    schedule.acknowledged(slow)
    schedule.lost(slow)
    assert schedule.is_complete
    assert schedule.in_flight == 0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_lost_everything_arrives(seed: int) -> None:
    chance = random.Random(seed)
    schedule = Schedule(1000, alignment=chance.choice([1, 64]))
    ahead = []
    for now in range(10_000):
        chunk = schedule.take(chance.randrange(1, 200), now) or schedule.take_again(200, NOTHING, now - 5)
        if chunk:
            ahead.append(chunk)
        elif schedule.is_complete:
            break
        if ahead and chance.random() < 0.6:
            done = ahead.pop(chance.randrange(len(ahead)))
            (schedule.lost if chance.random() < 0.4 else schedule.acknowledged)(done)
    assert schedule.is_complete
