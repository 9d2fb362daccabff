"""What a worker that ends waits for: requests that are being answered."""

import asyncio

from incoming.handlers.open_requests import OpenRequests


class Request:
    """An object that can be referred to weakly, as handlers can."""


async def turn() -> None:
    await asyncio.sleep(0)


async def test_without_requests_there_is_nothing_to_wait_for() -> None:
    await OpenRequests().wait_for_none()


async def test_the_last_answer_ends_the_wait() -> None:
    requests, one, other = OpenRequests(), Request(), Request()
    requests.add(one)
    requests.add(other)
    waiting = asyncio.ensure_future(requests.wait_for_none())
    await turn()
    requests.discard(one)
    requests.discard(one)
    await turn()
    assert not waiting.done()
    assert list(requests) == [other]
    requests.discard(other)
    await asyncio.wait_for(waiting, 20)
    assert not requests


async def test_a_request_that_comes_meanwhile_is_waited_for() -> None:
    requests, one, late = OpenRequests(), Request(), Request()
    requests.add(one)
    waiting = asyncio.ensure_future(requests.wait_for_none())
    await turn()
    requests.discard(one)
    requests.add(late)
    await turn()
    assert not waiting.done()
    requests.discard(late)
    await asyncio.wait_for(waiting, 20)


async def test_a_request_without_a_handler_delays_no_shutdown() -> None:
    requests, request = OpenRequests(), Request()
    requests.add(request)
    waiting = asyncio.ensure_future(requests.wait_for_none())
    await turn()
    del request
    await asyncio.wait_for(waiting, 20)
