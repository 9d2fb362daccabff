"""Retries: a busy store gets fewer requests at once, an absent one is given up after a time, a refusal counts."""

import asyncio

import pytest

from incoming.core.errors import StorageFailed
from incoming.storage.s3.requests.answers import S3Error
from incoming.storage.s3.requests.http_sender import Unreachable
from incoming.storage.s3.requests.retrying import Retrying, Throttle

BUSY = S3Error(503, "SlowDown", "", "UploadPart")
REFUSED = S3Error(403, "AccessDenied", "", "UploadPart")


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(f"incoming.storage.s3.requests.retrying.{name}", 0.0)


class Attempts:
    """Fails with each of `errors` in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.count = 0

    async def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "etag"


@pytest.mark.usefixtures("no_pauses")
async def test_a_busy_or_unreachable_store_is_asked_again() -> None:
    retrying, attempts = Retrying("s3"), Attempts(BUSY, Unreachable("refused"), BUSY)
    assert await retrying.call(attempts, is_put=True) == "etag"
    assert (attempts.count, retrying.retries) == (4, 3)


async def test_what_is_refused_is_not_tried_again() -> None:
    attempts = Attempts(REFUSED)
    with pytest.raises(S3Error, match="AccessDenied"):
        await Retrying("s3").call(attempts, is_put=True)
    assert attempts.count == 1


@pytest.mark.usefixtures("no_pauses")
async def test_a_store_that_is_away_is_given_up_and_then_asked_once_each() -> None:
    retrying = Retrying("s3", timeout=0.0)
    attempts = Attempts(*[BUSY] * 3)
    for _ in range(3):
        with pytest.raises(StorageFailed, match="object store s3: UploadPart: SlowDown"):
            await retrying.call(attempts)
    assert attempts.count == 3
    assert await retrying.call(attempts) == "etag"


@pytest.mark.usefixtures("no_pauses")
async def test_a_request_that_fails_while_others_succeed_is_tried_further_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    retrying, others = Retrying("s3", timeout=0.01), Attempts()
    locked = Attempts(*[S3Error(500, "InternalError", "already in progress", "CompleteMultipartUpload")] * 5)

    async def attempt() -> str:
        await asyncio.sleep(0.02)
        await retrying.call(others)
        return await locked()

    assert await retrying.call(attempt) == "etag"
    assert (locked.count, others.count) == (6, 6)
    [line] = [record.getMessage() for record in caplog.records]
    assert line == (
        "object store s3: CompleteMultipartUpload: InternalError (already in progress); "
        "other requests succeed, trying this one further"
    )


def test_a_failure_halves_what_may_be_under_way_and_successes_raise_it() -> None:
    throttle = Throttle(most=8)
    throttle.failed()
    assert throttle.limit == 2
    for _ in range(5):
        throttle.failed()
    assert throttle.limit == 1
    for _ in range(100):
        throttle.succeeded()
    assert throttle.limit == 8


async def test_no_more_than_the_limit_are_under_way() -> None:
    throttle = Throttle()
    throttle.limit = 2.0
    end = asyncio.Event()
    most = 0

    async def work() -> None:
        nonlocal most
        async with throttle:
            most = max(most, throttle.under_way)
            await end.wait()

    tasks = [asyncio.ensure_future(work()) for _ in range(5)]
    await asyncio.wait(tasks, timeout=0.01)
    assert throttle.under_way == 2
    tasks[-1].cancel()
    end.set()
    await asyncio.wait(tasks)
    assert (most, throttle.under_way) == (2, 0)
