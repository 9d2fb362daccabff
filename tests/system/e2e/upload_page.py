"""Drives the recording page in a browser, and knows what every moment of an upload has to look like."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page

from tests.support.browser_tab import Tab
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp

T = TypeVar("T")

SCRIPT = "/incoming/0.1/frontend/incoming.js"

NUMBERS = (
    "bytes_total",
    "bytes_tx",
    "bytes_acked",
    "bytes_received",
    "bytes_ahead",
    "frac_complete",
    "chunks_tx_now",
    "chunks_acked_now",
    "chunks_ahead",
)
TEXTS = ("filename", "state_msg", "cancel_msg", "error_msg", "transport")
FLAGS = ("connected", "finished", "paused", "can_pause", "cancelling", "cancelled", "can_cancel")


@dataclass(frozen=True)
class Moment:
    """Everything that an uploader said of itself at one time."""

    upload_id: str
    filename: str
    bytes_total: int
    bytes_tx: int
    bytes_acked: int
    bytes_received: int
    bytes_ahead: int
    frac_complete: float
    chunks_tx_now: int
    chunks_acked_now: int
    chunks_ahead: int
    state_msg: str
    cancel_msg: str
    error_code: int | None
    error_msg: str
    connected: bool
    finished: bool
    paused: bool
    can_pause: bool
    cancelling: bool
    cancelled: bool
    can_cancel: bool
    transport: str

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Moment":
        """An earlier library does not say what is received and not safe yet."""
        known = {"bytes_received": values["bytes_acked"], **values}
        return cls(**{name: known[name] for name in cls.__dataclass_fields__})

    @property
    def over(self) -> bool:
        """Ended, well or not."""
        return self.finished or self.cancelled or self.failed

    @property
    def failed(self) -> bool:
        """Beyond repair; an error code alone may also say what the upload waits for."""
        return self.state_msg.startswith("failed: ")

    def assert_lawful(self) -> None:
        """What is promised of every moment."""
        for name in NUMBERS:
            value = getattr(self, name)
            assert type(value) in (int, float), f"{name} is {value!r}"
            assert value >= 0, f"{name} is {value!r}"  # false for NaN
        for name in TEXTS:
            assert type(getattr(self, name)) is str, f"{name} is {getattr(self, name)!r}"
        for name in FLAGS:
            assert type(getattr(self, name)) is bool, f"{name} is {getattr(self, name)!r}"
        assert self.error_code is None or (type(self.error_code) is int and self.error_code > 0)
        assert self.bytes_tx == self.bytes_acked + self.bytes_ahead <= self.bytes_total, self
        assert self.bytes_acked <= self.bytes_received <= self.bytes_total, self
        assert self.chunks_tx_now == self.chunks_acked_now + self.chunks_ahead, self
        assert (self.bytes_ahead > 0) == (self.chunks_ahead > 0), self
        assert 0 <= self.frac_complete <= 1, self
        if self.bytes_total:
            assert self.frac_complete == self.bytes_acked / self.bytes_total, self
        assert sum([self.finished, self.cancelled, self.cancelling, self.paused]) <= 1, self
        if self.finished:
            assert self.frac_complete == 1, self
        if self.finished or self.paused or self.cancelling:
            assert not self.can_cancel, self
        if self.finished or self.cancelled or self.paused:
            assert not self.can_pause, self
        if self.finished or self.cancelled:
            assert not self.connected, self
        assert bool(self.transport) == self.connected, self


@dataclass(frozen=True)
class Call:
    """One call of a callback; `moment` is what the uploader said meanwhile."""

    callback: str
    uploader_only: bool
    moment: Moment


SLOW = 1 << 20
"""Bytes per second: a file of a few MiB is in progress for as long as a test may want."""

over_both = pytest.mark.parametrize("transport", ["auto", "http"])
"""Runs a test whose pages use the fixture `transport` by WebSocket, which nothing hinders here, and by HTTP."""


class PageUpload:
    """One uploader of the page."""

    def __init__(self, page: Page | Tab, number: int) -> None:
        self._page = page
        self._number = number

    @property
    def now(self) -> Moment:
        return Moment.of(self._page.evaluate("(number) => snapshot(uploads[number].uploader)", self._number))

    @property
    def calls(self) -> list[Call]:
        found = self._page.evaluate("(number) => uploads[number].calls", self._number)
        return [Call(call["callback"], call["uploader_only"], Moment.of(call["values"])) for call in found]

    @property
    def moments(self) -> list[Moment]:
        """One for each onprogress."""
        return [call.moment for call in self.calls if call.callback == "onprogress"]

    def start(self) -> "PageUpload":
        self._do("uploader.start()")
        return self

    def start_slowly(self, count: int = 1) -> "PageUpload":
        """Start at SLOW, until `max_rate` is set to something else, and wait for the first `count` bytes."""
        self.set("max_rate", SLOW)
        self.start().wait_for_bytes(count)
        return self

    def start_and_hold(self, count: int, rate: int = SLOW) -> "PageUpload":
        """Start at `rate`, and wait for `count` bytes: from then on hardly anything moves until `max_rate` is set.

        So nothing that a test does then has to be done before the upload ends, however busy the machine is.
        """
        self.set("max_rate", rate)
        slow_down = "if (now.bytes_acked >= given) { uploader.max_rate = 20_000; end(); }"
        self._do(f"const end = uploader.start().subscribe((now) => {{ {slow_down} }})", count)
        self.wait_for_bytes(count)
        return self

    def pause(self, what: str) -> None:
        self._do(f"uploader.pause('{what}')")

    def cancel(self, reason: str) -> None:
        self._do("uploader.cancel(given)", reason)

    def set(self, name: str, value: object) -> None:
        self._do(f"uploader.{name} = given", value)

    def wait_for(self, condition: Callable[[Moment], object], what: str, timeout: float = 60.0) -> Moment:
        """Wait until `condition` holds and return that moment; an upload that has ended is not waited for.

        `condition` may need the whole file to arrive: tens of MiB take half a minute on a busy machine.
        """
        last: list[Moment] = []

        def holds() -> bool:
            last[:] = [self.now]
            met = bool(condition(last[0]))
            assert met or not last[0].over, f"ended instead of: {what}"
            return met

        try:
            wait_until(holds, what, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; last seen: {last[0]}") from None
        return last[0]

    def wait_until_over(self, timeout: float = 60.0) -> Moment:
        return self.wait_for(lambda now: now.over, "the end of the upload", timeout)

    def wait_until_finished(self, timeout: float = 60.0) -> Moment:
        end = self.wait_until_over(timeout)
        assert end.finished, end
        self.assert_lawful()
        return end

    def wait_for_bytes(self, count: int = 1, timeout: float = 60.0) -> Moment:
        """Wait until at least `count` bytes have arrived."""
        return self.wait_for(lambda now: now.bytes_acked >= count, f"{count} bytes to arrive", timeout)

    def assert_lawful(self) -> None:
        """Every moment that a callback has seen, and the order of the callbacks."""
        calls = self.calls
        for call in calls:
            call.moment.assert_lawful()
            assert call.uploader_only, f"{call.callback} got other arguments than the uploader"
        for before, after in pairwise(calls):
            if after.callback == "onprogress":
                assert before.moment != after.moment, "onprogress without a change"
            else:
                assert before.callback == "onprogress", f"{after.callback} without onprogress before it"
                assert before.moment == after.moment, f"{after.callback} told news that onprogress had not told"
        outcomes = [call.callback for call in calls if call.callback != "onprogress"]
        last = self.now
        assert outcomes.count("onfinished") == last.finished
        assert outcomes.count("oncancelled") == last.cancelled
        assert calls == [] or calls[-1].moment == last, "something changed and nobody was told"

    def _do(self, statement: str, given: object = None) -> None:
        script = f"([number, given]) => {{ const {{ uploader }} = uploads[number]; {statement} }}"
        self._page.evaluate(script, [self._number, given])


class UploadPage:
    """The page in one tab.

    `sockets` are the addresses of the WebSockets it has opened, in order; only Playwright's pages tell.
    """

    def __init__(self, page: Page | Tab, app: UploadApp, host: str) -> None:
        self.tab = page
        self.sockets: list[str] = []
        self._app = app
        self._host = host
        self._transport = "auto"
        if isinstance(page, Page):
            page.on("websocket", lambda socket: self.sockets.append(socket.url))

    def open(self, script: str = SCRIPT, transport: str | None = None) -> "UploadPage":
        """Load the page, and tell the library where the server is; the transport is the last one that was given."""
        self._transport = transport or self._transport
        self.tab.goto(self._app.page_url + "?" + urlencode({"script": f"http://{self._host}{script}"}))
        return self._set_up()

    def reload(self) -> "UploadPage":
        """As with the browser's button."""
        self.tab.reload()
        return self._set_up()

    def _set_up(self) -> "UploadPage":
        self.tab.evaluate("(host) => incoming.set_server_hostname(host)", self._host)
        if self._transport != "auto":
            self.tab.evaluate("(transport) => incoming.set_transport(transport)", self._transport)
        return self

    def upload(self, ticket: str, file: Path | None) -> PageUpload:
        """Choose a file for a ticket; None takes the one that is chosen already. Nothing starts yet."""
        if file is not None:
            self.tab.set_input_files("#file", file)
        return self.upload_of("chosen_file()", ticket)

    def upload_of(self, expression: str, ticket: str) -> PageUpload:
        """The same for the File that a JavaScript expression makes."""
        number = self.tab.evaluate(f"(ticket) => make_upload(ticket, {expression})", ticket)
        return PageUpload(self.tab, number)
