"""Which failures are waited for, and for how long."""

import pytest

from incoming.client.backoff import FIRST_PAUSE, LONGEST_PAUSE, Backoff
from incoming.client.errors import NotTheServer, Unreachable, error_from
from incoming.client.upload import retrying
from incoming.client.upload.address import UploadAddress
from incoming.client.upload.retrying import STRANGE_ANSWERS, GaveUp, Retrying
from incoming.core.errors import FileTooLarge, StorageFull


class Clock:
    """Pauses take no time, and are recorded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.notes: list[str] = []
        monkeypatch.setattr(retrying.asyncio, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(round(seconds, 3))
        self.now += seconds

    def retrying(self, give_up_after: float | None = None) -> Retrying:
        backoff = Backoff(give_up_after, clock=lambda: self.now, jitter=lambda: 1.0)
        address = UploadAddress("http://server", "ticket")
        return Retrying(backoff, address, lambda error: self.notes.append(str(error)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def attempts(trying: Retrying, *script: Exception) -> int:
    """Try until the script is used up; return the number of attempts."""
    left = list(script)

    async def attempt() -> int:
        if left:
            raise left.pop(0)
        return len(script) + 1

    return await trying.until_done(attempt)


async def test_losses_are_waited_for_ever_longer_but_never_very_long(clock: Clock) -> None:
    assert await attempts(clock.retrying(), *[Unreachable("away")] * 12) == 13
    assert clock.pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert clock.pauses[-1] == LONGEST_PAUSE
    assert clock.notes == ["away"] * 12


async def test_a_success_makes_pauses_short_again(clock: Clock) -> None:
    trying = clock.retrying()
    await attempts(trying, *[Unreachable("away")] * 5)
    await attempts(trying, Unreachable("away"))
    assert clock.pauses[-1] == FIRST_PAUSE


async def test_the_server_is_given_the_time_that_it_asks_for(clock: Clock) -> None:
    await attempts(clock.retrying(), error_from({"code": 501, "message": "full", "retry": True, "retry_after": 10}))
    assert clock.pauses == [10 + FIRST_PAUSE]


@pytest.mark.parametrize("error", [error_from({"code": 401, "message": "too large", "retry": False})])
async def test_a_refusal_is_final(clock: Clock, error: FileTooLarge) -> None:
    with pytest.raises(FileTooLarge, match="too large"):
        await attempts(clock.retrying(), error)
    assert clock.pauses == []


@pytest.mark.parametrize("error", [Unreachable("away"), error_from({"code": 501, "message": "full", "retry": True})])
async def test_it_gives_up_when_nothing_has_worked_for_so_long(clock: Clock, error: Unreachable | StorageFull) -> None:
    with pytest.raises(GaveUp):
        await attempts(clock.retrying(60.0), *[error] * 100)
    assert 30 < clock.now <= 60


async def test_what_never_was_a_server_is_no_server(clock: Clock) -> None:
    with pytest.raises(NotTheServer, match=r"http://server/incoming/0\.1/frontend/upload: strange"):
        await attempts(clock.retrying(), *[NotTheServer("strange")] * 100)
    assert len(clock.pauses) == STRANGE_ANSWERS - 1


async def test_a_proxy_that_answers_during_a_deployment_is_waited_for(clock: Clock) -> None:
    trying = clock.retrying()
    trying.reached()
    assert await attempts(trying, *[NotTheServer("404")] * 20) == 21
