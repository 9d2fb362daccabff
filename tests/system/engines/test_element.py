"""<incoming-uploader> in Firefox and WebKit: its main path. Chromium does the rest in tests/system/e2e."""

from collections.abc import Iterator

import pytest

from tests.support.browser_tab import Tab
from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until
from tests.system.e2e.element_app import ElementApp

pytestmark = pytest.mark.parametrize("engine", ["firefox", "webkit"])

ELEMENT = "document.querySelector('incoming-uploader')"
PARTS = f"{ELEMENT}.shadowRoot.querySelector"
SIZE = 3 << 20


@pytest.fixture
def app(server: IncomingServer) -> Iterator[ElementApp]:
    with ElementApp(server.base_url) as app:
        yield app


def row(tab: Tab, script: str) -> object:
    """What a function says of the first row's shadow root; None as long as there is no row."""
    find = f"{PARTS}('incoming-list')?.shadowRoot.querySelector('incoming-row')?.shadowRoot"
    return tab.evaluate(f"() => {{ const root = {find}; return root ? ({script})(root) : null; }}")


def status(tab: Tab) -> str:
    return str(row(tab, "(root) => root.querySelector('[part=status]').textContent"))


def test_a_file_is_chosen_paused_resumed_and_becomes_a_field_of_the_form(tab: Tab, app: ElementApp) -> None:
    app.lang = "de"
    tab.goto(app.page_url)
    button = f"{ELEMENT}?.shadowRoot?.querySelector('incoming-drop-area')?.shadowRoot?.querySelector('button')"
    wait_until(
        lambda: tab.evaluate(f"() => {button}?.textContent") == "Dateien auswählen",
        "the texts in the language of the page",
    )
    tab.evaluate(
        f"""(size) => {{
            const file = new File([new Uint8Array(size)], "film.mp4");
            {PARTS}("incoming-drop-area").take([{{ file }}]);
            {ELEMENT}.queue.snapshot().uploads[0].max_rate = 300_000;
        }}""",
        SIZE,
    )
    wait_until(lambda: "kB/s" in status(tab), "the rate")
    row(tab, "(root) => root.querySelector('summary').click()")
    limit = "(root) => root.querySelector('[part=limit]')?.textContent ?? ''"
    wait_until(lambda: "Diese Seite begrenzt den Upload auf 300" in str(row(tab, limit)), "the details")
    row(tab, "(root) => root.querySelector('#pause').click()")
    wait_until(lambda: "Angehalten" in status(tab), "the pause")
    tab.evaluate(f"() => {{ {ELEMENT}.queue.snapshot().uploads[0].max_rate = 0; }}")
    row(tab, "(root) => root.querySelector('#resume').click()")
    wait_until(lambda: status(tab).startswith("Fertig"), "the end")
    tickets = tab.evaluate("() => new FormData(document.querySelector('form')).getAll('films')")
    assert [app.receipts[ticket].size for ticket in tickets] == [SIZE]
