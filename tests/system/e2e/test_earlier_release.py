"""Releases that differ: a library that a browser has cached with this server, and this library with a server of before.

The cached library is that of release 45ed614. The server of before is this one behind a filter, which lets pass what
that release knew: the fields of its messages, and no later resource.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute

from tests.support.known_files import KnownFile
from tests.support.tools import ROOT
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import SCRIPT, SLOW, UploadPage, over_both

RELEASE = ROOT / "tests" / "vectors" / "release-45ed614"
MIB = 1 << 20


def message_fields() -> Mapping[str, set[str]]:
    """The fields of each type of message that a server of that release sends."""
    found: dict[str, set[str]] = {}
    for vector in json.loads((RELEASE / "messages.json").read_text())["from_server"]:
        found.setdefault(vector["fields"]["type"], set()).update(vector["fields"])
    return found


FIELDS = message_fields()
STATUS_FIELDS = {
    "id",
    "name",
    "size",
    "arrived",
    "extents",
    "paused",
    "state",
    "reason",
    "code",
    "chunk_min",
    "chunk_max",
}
LATER_RESOURCES = re.compile(r"/frontend/(uploads/wait|upload/[^/]+/whole\b)")


class OlderServer:
    """The filter between a page and the server. It notes which messages `passed`, and which fields it `dropped`."""

    def __init__(self, page: Page) -> None:
        self.passed: set[str] = set()
        self.dropped: set[str] = set()
        page.route_web_socket("**/upload_ws*", self._connect)
        page.route("**/frontend/upload/*", self._answer)
        page.route(LATER_RESOURCES, lambda route: route.fulfill(status=404, body="no such URL"))

    def _connect(self, socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        server.on_message(lambda message: self._pass(socket, message))

    def _pass(self, socket: WebSocketRoute, message: str | bytes) -> None:
        if isinstance(message, bytes):
            socket.send(message)
            return
        fields = json.loads(message)
        if fields["type"] in FIELDS:
            self.passed.add(fields["type"])
            socket.send(json.dumps(self._known(fields, FIELDS[fields["type"]])))

    def _answer(self, route: Route) -> None:
        answer = route.fetch(max_redirects=0)
        try:
            fields = answer.json()
        except ValueError:
            route.fulfill(response=answer)
            return
        self.passed.add("status")
        known = STATUS_FIELDS.union(*FIELDS.values())
        route.fulfill(response=answer, body=json.dumps(self._known(fields, known)))

    def _known(self, fields: dict[str, Any], known: set[str]) -> dict[str, Any]:
        self.dropped |= fields.keys() - known
        return {name: value for name, value in fields.items() if name in known}


@pytest.fixture(params=["an earlier library", "an earlier server"])
def releases(request: pytest.FixtureRequest, page: Page) -> str:
    """Which of the two is the earlier one."""
    name: str = request.param
    if name == "an earlier library":
        library = RELEASE / "incoming.js"
        page.route(f"**{SCRIPT}", lambda route: route.fulfill(path=library, content_type="text/javascript"))
    else:
        OlderServer(page)
    return name


@pytest.fixture
def upload_page(releases: str, page: Page, app: UploadApp, host: str, transport: str) -> UploadPage:
    opened = UploadPage(page, app, host).open(transport=transport)
    assert page.evaluate("() => 'Queue' in incoming") == (releases == "an earlier server"), (
        "the library of that release"
    )
    return opened


@over_both
def test_a_file_is_paused_resumed_continued_after_a_reload_and_handed_over(
    upload_page: UploadPage, app: UploadApp, file: KnownFile
) -> None:
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path).start_slowly()
    upload.pause("pause")
    upload.wait_for(lambda now: now.paused, "the pause")
    upload.pause("unpause")
    arrived = upload.wait_for_bytes(2 * MIB).bytes_acked
    upload_page.reload()
    again = upload_page.upload(ticket, file.path)
    again.set("max_rate", SLOW)
    again.start()
    assert again.wait_for_bytes().bytes_acked >= arrived
    again.set("max_rate", 0)
    again.wait_until_finished()
    app.assert_received(ticket, file)


@over_both
def test_the_library_waits_for_a_slow_app(upload_page: UploadPage, app: UploadApp, file: KnownFile) -> None:
    app.default = "wait"
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path).start()
    upload.wait_for(lambda now: now.state_msg == "processing file on server", "the app to say wait")
    assert app.finish_upload(ticket) == "ok"
    upload.wait_until_finished()
    app.assert_received(ticket, file)


@over_both
def test_every_outcome_is_understood(upload_page: UploadPage, app: UploadApp, file: KnownFile) -> None:
    upload = upload_page.upload(app.new_ticket(), file.path).start_slowly()
    upload.cancel("enough")
    assert upload.wait_for(lambda now: now.cancelled, "the cancellation").cancelled

    other = upload_page.upload(ticket := app.new_ticket(), file.path).start_slowly()
    assert app.cancel_upload(ticket) == "ok"
    end = other.wait_until_over()
    assert end.cancelled

    app.default = (418, "I'm a teapot")
    refused = upload_page.upload(app.new_ticket(), file.path).start()
    assert refused.wait_until_over().error_code == 303


@pytest.mark.parametrize(
    ("transport", "message", "later"),
    [("auto", "welcome", {"version"}), ("http", "status", {"version", "path"})],
)
def test_every_message_passes_the_filter(
    page: Page, app: UploadApp, host: str, transport: str, message: str, later: set[str], file: KnownFile
) -> None:
    """Otherwise it would prove nothing."""
    older = OlderServer(page)
    ticket = app.new_ticket(metadata=json.dumps({"later": "than that release"}))
    upload = UploadPage(page, app, host).open(transport=transport).upload(ticket, file.path).start()
    upload.wait_until_finished()
    assert message in older.passed
    page.evaluate("(url) => fetch(url)", f"http://{host}/incoming/frontend/upload/{ticket}")
    assert older.dropped == {"metadata", *later}
