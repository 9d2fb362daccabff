"""A database server that is away is tried by one caller at a time, and the others wait no longer than they can."""

import asyncio

import asyncpg
import pytest

from incoming.storage.postgres.connection.outage import NoTurn, Outage
from tests.support.stores import Clock


async def failing(outage: Outage, deadline: float = 1e9) -> None:
    with pytest.raises(ConnectionRefusedError):
        async with outage.turn(deadline):
            raise ConnectionRefusedError


async def test_one_caller_at_a_time_tries_a_server_that_is_away() -> None:
    clock = Clock()
    outage = Outage(10, clock)
    await failing(outage)
    clock.advance(1)
    trying = 0
    most = 0

    async def attempt() -> None:
        nonlocal trying, most
        async with outage.turn(clock.now + 5):
            trying += 1
            most = max(most, trying)
            await asyncio.sleep(0)
            trying -= 1
            raise ConnectionRefusedError

    results = await asyncio.gather(*(attempt() for _ in range(3)), return_exceptions=True)
    assert most == 1
    assert {type(result) for result in results} == {ConnectionRefusedError}


async def test_all_try_at_the_same_time_once_it_answers_again() -> None:
    outage = Outage(10, Clock())
    await failing(outage)
    outage._next = 0.0
    async with outage.turn(1e12):
        pass
    async with outage.turn(1e12), outage.turn(1e12):
        pass


async def test_after_the_timeout_of_callers_only_one_finds_out() -> None:
    clock = Clock()
    outage = Outage(10, clock)
    await failing(outage)
    clock.advance(11)
    assert outage.is_known
    async with outage.turn(clock.now + 10):
        with pytest.raises(NoTurn):
            async with outage.turn(clock.now + 10):
                pass
    assert not outage.is_known


async def test_an_answer_is_no_outage_whatever_it_says() -> None:
    outage = Outage(10, Clock())
    for error in (asyncpg.QueryCanceledError("statement timeout"), asyncpg.LockNotAvailableError("lock timeout")):
        with pytest.raises(type(error)):
            async with outage.turn(0):
                raise error
        assert outage._since is None
