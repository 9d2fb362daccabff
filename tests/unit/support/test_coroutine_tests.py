"""Coroutine tests run on a loop of their own, whatever ran in this process before."""

import asyncio

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler

_LOOPS: list[asyncio.AbstractEventLoop] = []


async def test_runs_on_a_loop() -> None:
    await asyncio.sleep(0)
    _LOOPS.append(asyncio.get_running_loop())


async def test_runs_on_a_fresh_loop(io_loop: IOLoop) -> None:
    assert io_loop is IOLoop.current()
    assert asyncio.get_running_loop() not in _LOOPS


class Greeting(RequestHandler):
    async def get(self) -> None:
        await asyncio.sleep(0)
        self.write("hello")


@pytest.fixture
def app() -> Application:
    return Application([("/", Greeting)])


async def test_talks_to_an_application(http_server_client: AsyncHTTPClient) -> None:
    response = await http_server_client.fetch("/")
    assert response.body == b"hello"
