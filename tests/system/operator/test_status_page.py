"""The status page in a real browser: live, complete with several workers, safe with any file name."""

import json
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.conftest import StartServer
from tests.support.app_stub import AppStub
from tests.support.incoming_server import IncomingServer

HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\">.png",
    "</td></tr></table><script>document.title='owned'</script>",
    "\u202egnp.exe",
    '" onmouseover="document.title=1',
    "line\u2028break",
    "x" * 1000,
)


def new_ticket(server: IncomingServer, url: str) -> str:
    with urllib.request.urlopen(
        f"{server.base_url}/incoming/backend/new_upload", f"signalFinishURL={url}".encode(), timeout=20
    ) as answer:
        return str(answer.read().decode())


def state(server: IncomingServer, ticket: str) -> str:
    with urllib.request.urlopen(f"{server.base_url}/incoming/frontend/upload/{ticket}", timeout=20) as answer:
        return str(json.loads(answer.read())["state"])


class Sending:
    """A PUT whose body is sent on request."""

    def __init__(self, server: IncomingServer, ticket: str, name: str, size: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", server.port))
        target = f"/incoming/frontend/upload/{ticket}?{urllib.parse.urlencode({'filename': name})}"
        head = f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
        self._connection.sendall(head.encode())

    def send(self, content: bytes) -> None:
        self._connection.sendall(content)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def server(start_server: StartServer) -> IncomingServer:
    return start_server("--workers", "2", "--handover-max-backoff", "3600")


@pytest.fixture
def sending(server: IncomingServer, app_stub: AppStub) -> Iterator[dict[str, tuple[str, Sending]]]:
    """Uploads under every hostile name, a tenth of each sent; ticket and connection by name."""
    found = {}
    for name in HOSTILE:
        ticket = new_ticket(server, app_stub.url)
        found[name] = (ticket, Sending(server, ticket, name, 1000))
        found[name][1].send(b"x" * 100)
    yield found
    for _, connection in found.values():
        connection.close()


def open_page(page: Page, server: IncomingServer) -> None:
    page.goto(f"{server.base_url}/incoming/status")
    expect(page.locator("#health-text")).to_have_text("live")


def row(page: Page, ticket: str) -> object:
    return page.locator("#uploads tr", has_text=ticket[:8])


def test_file_names_are_shown_as_text(
    quiet_page: Page, server: IncomingServer, sending: dict[str, tuple[str, Sending]]
) -> None:
    open_page(quiet_page, server)
    expect(quiet_page.locator("#uploads tr")).to_have_count(len(HOSTILE))
    expect(quiet_page.locator("#uploads img, #uploads script")).to_have_count(0)
    for name, (ticket, _) in sending.items():
        shown = name.replace("\u202e", "\\u{202e}").replace("\u2028", "\\u{2028}")
        expect(row(quiet_page, ticket).locator(".name")).to_have_text(shown)  # type: ignore[attr-defined]
    assert quiet_page.title() == "Incoming!! status"


def test_the_page_updates_by_itself(quiet_page: Page, server: IncomingServer, app_stub: AppStub) -> None:
    open_page(quiet_page, server)
    expect(quiet_page.locator("#empty")).to_be_visible()
    ticket = new_ticket(server, app_stub.url)
    connection = Sending(server, ticket, "a film.mkv", 1000)
    connection.send(b"x" * 250)
    shown = row(quiet_page, ticket)
    expect(shown).to_contain_text("25 % of 1000 B")  # type: ignore[arg-type]
    expect(shown).to_contain_text("HTTP, 1 connection")  # type: ignore[arg-type]
    expect(shown).to_contain_text("127.0.0.1")  # type: ignore[arg-type]
    expect(quiet_page.locator("#tiles")).to_contain_text("0 WebSocket, 1 HTTP")
    expect(shown).to_contain_text("limit: line")  # type: ignore[arg-type]
    expect(shown).to_contain_text("stored in")  # type: ignore[arg-type]
    connection.send(b"x" * 500)
    expect(shown).to_contain_text("75 % of 1000 B")  # type: ignore[arg-type]
    connection.send(b"x" * 250)
    expect(shown).to_contain_text("finished")  # type: ignore[arg-type]
    expect(shown.get_by_role("button")).to_have_count(0)  # type: ignore[attr-defined]
    connection.close()
    expect(quiet_page.locator("#traffic .line")).to_have_count(1)


def test_cancelling_takes_two_clicks(
    quiet_page: Page, server: IncomingServer, sending: dict[str, tuple[str, Sending]]
) -> None:
    open_page(quiet_page, server)
    ticket, _ = sending[HOSTILE[0]]
    shown = row(quiet_page, ticket)
    button = shown.get_by_role("button", name="Cancel")  # type: ignore[attr-defined]
    button.click()
    sure = shown.get_by_role("button", name="Really cancel?")  # type: ignore[attr-defined]
    expect(sure).to_be_visible()
    assert state(server, ticket) == "uploading"
    sure.click()
    expect(shown).to_contain_text("cancelled")  # type: ignore[arg-type]
    expect(shown).to_contain_text("Cancelled by the operator")  # type: ignore[arg-type]
    assert state(server, ticket) == "cancelled"


def test_a_failed_handover_can_be_retried(quiet_page: Page, server: IncomingServer, app_stub: AppStub) -> None:
    app_stub.answer_next((403, "<b>not today</b>"))
    ticket = new_ticket(server, app_stub.url)
    connection = Sending(server, ticket, "a", 3)
    connection.send(b"abc")
    open_page(quiet_page, server)
    shown = row(quiet_page, ticket)
    expect(shown).to_contain_text("<b>not today</b>")  # type: ignore[arg-type]
    shown.get_by_role("button", name="Retry now").click()  # type: ignore[attr-defined]
    expect(shown).to_contain_text("finished")  # type: ignore[arg-type]
    connection.close()


def test_uploads_are_found_and_the_address_keeps_the_search(
    quiet_page: Page, server: IncomingServer, sending: dict[str, tuple[str, Sending]]
) -> None:
    open_page(quiet_page, server)
    rows = quiet_page.locator("#uploads tr")
    expect(rows).to_have_count(len(HOSTILE))
    quiet_page.get_by_role("searchbox").fill("GNP.exe")
    expect(rows).to_have_count(1)
    expect(row(quiet_page, sending["\u202egnp.exe"][0])).to_be_visible()  # type: ignore[arg-type]
    quiet_page.reload()
    expect(rows).to_have_count(1)
    expect(quiet_page.get_by_role("searchbox")).to_have_value("GNP.exe")
    quiet_page.get_by_label("Show").select_option("failed")
    expect(quiet_page.locator("#empty")).to_have_text("No upload is like that.")
    quiet_page.get_by_label("Show").select_option("")
    quiet_page.get_by_role("searchbox").fill("")
    expect(rows).to_have_count(len(HOSTILE))


def test_a_heading_sorts_and_sorts_back(
    quiet_page: Page, server: IncomingServer, sending: dict[str, tuple[str, Sending]]
) -> None:
    open_page(quiet_page, server)
    heading = quiet_page.get_by_role("button", name="File")
    first = quiet_page.locator("#uploads .name").first
    heading.click()
    expect(first).to_have_text(HOSTILE[3])
    heading.click()
    expect(first).to_have_text("\\u{202e}gnp.exe")
    expect(quiet_page.get_by_label("Order")).to_have_value("name")


def test_the_details_open_by_id_and_follow_the_upload(
    quiet_page: Page, server: IncomingServer, app_stub: AppStub
) -> None:
    app_stub.answer_next((403, "<b>not today</b>"))
    ticket = new_ticket(server, app_stub.url)
    connection = Sending(server, ticket, "a film.mkv", 3)
    connection.send(b"abc")
    quiet_page.goto(f"{server.base_url}/incoming/status#id={ticket[:8]}")
    dialog = quiet_page.get_by_role("dialog", name="a film.mkv")
    expect(dialog.locator("#detail-state")).to_have_text("failed")
    expect(dialog.locator("#detail-facts")).to_contain_text(app_stub.url)
    expect(dialog.locator("#detail-timeline li").first).to_contain_text("ticket issued")
    expect(dialog.locator("#detail-timeline")).to_contain_text("attempt 1: it answered 403 Forbidden: <b>not today</b>")
    dialog.get_by_role("button", name="Retry now").click()
    expect(dialog.locator("#detail-state")).to_have_text("finished")
    expect(dialog.locator("#detail-timeline")).to_contain_text("retried by an operator")
    quiet_page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert "id=" not in quiet_page.url
    quiet_page.locator("#uploads").get_by_role("link", name="a film.mkv").click()
    expect(dialog).to_be_visible()
    assert f"id={ticket}" in quiet_page.url
    quiet_page.go_back()
    expect(dialog).to_be_hidden()
    connection.close()


def test_an_id_that_is_unknown_is_said_so(page: Page, server: IncomingServer) -> None:
    page.goto(f"{server.base_url}/incoming/status#id=00000000")
    expect(page.get_by_role("dialog")).to_contain_text("there is no upload whose id begins with 00000000")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_many_are_cancelled_with_two_clicks(
    quiet_page: Page, server: IncomingServer, sending: dict[str, tuple[str, Sending]]
) -> None:
    open_page(quiet_page, server)
    expect(quiet_page.locator("#uploads tr")).to_have_count(len(HOSTILE))
    quiet_page.get_by_label("choose all").check()
    chosen = quiet_page.get_by_role("region", name="Chosen uploads")
    expect(chosen).to_contain_text(f"{len(HOSTILE)} uploads chosen")
    quiet_page.locator("#uploads").get_by_role("checkbox").first.uncheck()
    expect(chosen).to_contain_text(f"{len(HOSTILE) - 1} uploads chosen")
    chosen.get_by_role("button", name="Cancel").click()
    chosen.get_by_role("button", name="Really cancel all?").click()
    expect(quiet_page.locator("#chosen-outcome")).to_have_text(f"{len(HOSTILE) - 1} cancelled")
    states = [state(server, ticket) for ticket, _ in sending.values()]
    assert sorted(states) == ["cancelled"] * (len(HOSTILE) - 1) + ["uploading"]


def test_the_page_shows_that_the_server_does_not_answer(page: Page, server: IncomingServer) -> None:
    open_page(page, server)
    server.kill()
    expect(page.locator("#health")).to_have_class("bad")
    expect(page.locator("#health-text")).to_contain_text("no answer")
    expect(page.locator("body")).to_have_class("stale")
    page.evaluate("document.body.style.minHeight = '5000px'; window.scrollTo(0, 3000)")
    expect(page.locator("#health-text")).to_be_in_viewport()
    server.start()
    if f":{server.port}/" in page.url:
        expect(page.locator("#health-text")).to_have_text("live")
        expect(page.locator("body")).not_to_have_class("stale")


def test_a_refusal_is_shown_with_its_reason(page: Page, server: IncomingServer) -> None:
    open_page(page, server)
    page.route("**/status/now", lambda route: route.fulfill(status=403, body="not to <b>you</b>\u202e"))
    expect(page.locator("#health-text")).to_contain_text("answers 403: not to <b>you</b>\\u{202e}")
    expect(page.locator("body")).to_have_class("stale")


def test_the_list_says_how_many_uploads_it_omits(
    page: Page, server: IncomingServer, sending: dict[str, tuple[str, Sending]]
) -> None:
    def crowded(route: Route) -> None:
        answer = route.fetch()
        status = answer.json()
        status["states"]["uploading"] = 1000
        route.fulfill(response=answer, json=status)

    page.route("**/status/now", crowded)
    open_page(page, server)
    expect(page.locator("#shown")).to_have_text("6 shown of 1000; all: incoming uploads list --limit 1000")


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_every_screen(
    browser_context: BrowserContext,
    server: IncomingServer,
    sending: dict[str, tuple[str, Sending]],
    width: int,
    scheme: str,
) -> None:
    page = browser_context.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    open_page(page, server)
    expect(page.locator("#uploads tr")).to_have_count(len(sending))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    heading, reading = (page.locator(f"#traffic-{part}").bounding_box() for part in ("heading", "reading"))
    assert heading is not None
    assert reading is not None
    beside = reading["x"] >= heading["x"] + heading["width"]
    assert beside or reading["y"] >= heading["y"] + heading["height"] - 1
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] >= (40 if width < 800 else 30)  # a finger, a mouse
