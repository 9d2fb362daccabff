"""<incoming-uploader> in a page of three lines: what users see, hear and do, and what the page's form learns."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.conftest import StartProxy
from tests.support.app_stub import Answer
from tests.support.fault_proxy import FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.support.tools import ROOT, require_node_package
from tests.support.waiting import wait_until
from tests.system.e2e.element_app import ElementApp

MIB = 1 << 20
ELEMENT = "document.querySelector('incoming-uploader')"
# `void`: Playwright calls a function that a script leaves.
SLOWLY = f"void {ELEMENT}.queue.subscribe(({{ uploads }}) => uploads.forEach((one) => (one.max_rate ||= 300_000)))"
FAST = f"{ELEMENT}.queue.snapshot().uploads.forEach((one) => (one.max_rate = 1e9))"

# Every text that a user can see or hear, through all shadow roots.
TEXTS = """() => {
    const found = [];
    const visit = (node) => {
        if (node.nodeType === Node.TEXT_NODE && node.data.trim()) found.push(node.data.trim());
        for (const name of ["aria-label", "title", "placeholder", "alt"]) {
            const text = node.getAttribute?.(name);
            if (text) found.push(text);
        }
        if (node.shadowRoot) visit(node.shadowRoot);
        node.childNodes.forEach(visit);
    };
    visit(document.querySelector("incoming-uploader"));
    return found;
}"""


@pytest.fixture
def app(server: IncomingServer) -> Iterator[ElementApp]:
    with ElementApp(server.base_url) as app:
        yield app
        app.release()


class Element:
    """The element in a tab."""

    def __init__(self, page: Page, app: ElementApp) -> None:
        self.page = page
        self.app = app
        self.host = page.locator("incoming-uploader")
        self.rows = page.locator("incoming-row")

    def open(self, attributes: str = "", lang: str = "en") -> "Element":
        self.app.attributes, self.app.lang = attributes, lang
        self.page.goto(self.app.page_url)
        expect(self.host.locator("[part~=choose]")).not_to_be_empty()
        return self

    def choose(self, *files: Path) -> None:
        self.host.locator("input[type=file]").first.set_input_files([str(file) for file in files])

    def slowly(self, *files: Path) -> Locator:
        """Choose files whose uploads stay in progress, and wait until bytes of the first arrive."""
        self.page.evaluate(SLOWLY)
        self.choose(*files)
        expect(self.rows.first.locator("[part=status]")).to_contain_text("% · ", timeout=20_000)
        return self.rows.first

    def button(self, name: str, row: Locator | None = None) -> Locator:
        return (row or self.host).get_by_role("button", name=name)

    def heard(self) -> list[str]:
        region = self.host.locator("incoming-announcements [role=log] p")
        return [text.replace("\u00a0", " ") for text in region.all_text_contents()]

    def focused(self) -> str:
        """The text of what has the focus, in whichever shadow root."""
        script = """() => {
            let node = document.activeElement;
            while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
            return node?.textContent ?? "";
        }"""
        return str(self.page.evaluate(script))

    def expect_focus(self, text: str) -> None:
        wait_until(lambda: self.focused() == text, f"the focus on {text}")

    def axe(self) -> list[str]:
        """What axe-core objects to, in words."""
        if not self.page.evaluate("'axe' in window"):
            self.page.add_script_tag(path=ROOT / "node_modules" / "axe-core" / "axe.min.js")
        found = self.page.evaluate(
            "axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations)"
        )
        return [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found]


@pytest.fixture
def element(quiet_page: Page, app: ElementApp) -> Element:
    require_node_package("axe-core")
    return Element(quiet_page, app)


@pytest.fixture
def refused(page: Page, app: ElementApp) -> Element:
    """For pages whose app answers with errors, which the browser's console repeats."""
    require_node_package("axe-core")
    return Element(page, app)


@pytest.fixture
def film(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "film.mp4", 20 * MIB)


def finished(element: Element, count: int = 1) -> None:
    expect(element.host.locator("incoming-row[data-state=finished]")).to_have_count(count, timeout=30_000)


def test_a_page_of_three_lines_uploads_files_and_its_form_has_the_tickets(
    element: Element, app: ElementApp, film: KnownFile, tmp_path: Path
) -> None:
    notes = make_file(tmp_path / "notes.txt", 27)
    element.open()
    element.page.evaluate(
        "window.told = []; document.addEventListener('incoming-finished', (e) => told.push(e.detail.upload.path));"
        "document.addEventListener('change', (e) => told.push(e.target.localName))"
    )
    element.choose(film.path, notes.path)
    finished(element, 2)
    assert sorted((asked["filename"], asked["size"]) for asked in app.asked) == [
        ("film.mp4", str(20 * MIB)),
        ("notes.txt", "27"),
    ]
    tickets = element.page.evaluate("new FormData(document.querySelector('form')).getAll('films')")
    assert tickets == element.page.evaluate(f"{ELEMENT}.value")
    app.assert_received(tickets[0], film)
    app.assert_received(tickets[1], notes)
    told = element.page.evaluate("told")
    assert sorted(told) == ["film.mp4", "incoming-uploader", "incoming-uploader", "notes.txt"]
    expect(element.host.locator("incoming-total [part=status]")).to_contain_text("2 of 2 files")
    assert element.heard()[-1] == "2 of 2 files"


def test_a_form_is_invalid_without_a_file_and_while_one_is_uploaded(element: Element, film: KnownFile) -> None:
    element.open("required")
    validity = f"[{ELEMENT}.validity.valid, {ELEMENT}.validationMessage]"
    assert element.page.evaluate(validity) == [False, "Please choose a file"]
    element.slowly(film.path)
    assert element.page.evaluate(validity) == [False, "Please wait until all files are uploaded"]
    element.page.evaluate(FAST)
    finished(element)
    assert element.page.evaluate(validity) == [True, ""]
    element.page.evaluate("document.querySelector('form').reset()")
    expect(element.rows).to_have_count(0)
    assert element.page.evaluate(validity) == [False, "Please choose a file"]


def test_an_upload_is_paused_resumed_and_cancelled_by_keyboard_and_the_focus_stays_with_it(
    element: Element, film: KnownFile
) -> None:
    element.open()
    row = element.slowly(film.path)
    keyboard = element.page.keyboard

    def press_until(name: str) -> None:
        for _ in range(12):
            keyboard.press("Tab")
            if element.focused() == name:
                return
        raise AssertionError(f"Tab does not lead to {name}")

    element.page.locator("body").focus()
    press_until("Choose files")
    press_until("Pause")
    keyboard.press("Enter")
    expect(row.locator("[part=status]")).to_contain_text("Paused")
    element.expect_focus("Resume")
    keyboard.press("Space")
    expect(row.locator("[part=status]")).to_contain_text("% · ")
    element.expect_focus("Pause")
    keyboard.press("Tab")
    element.expect_focus("Cancel")
    keyboard.press("Enter")
    expect(row.locator("[part=status]")).to_have_text("Cancelled")
    element.expect_focus("Remove from list")
    keyboard.press("Enter")
    expect(element.rows).to_have_count(0)
    element.expect_focus("Choose files")


def test_a_paused_upload_is_cancelled_by_one_press(element: Element, film: KnownFile) -> None:
    element.open()
    row = element.slowly(film.path)
    element.button("Pause film.mp4", row).click()
    element.button("Cancel film.mp4", row).click()
    expect(row.locator("[part=status]")).to_have_text("Cancelled")


def open_details(element: Element, row: Locator) -> Locator:
    """By keyboard; returns what has been opened."""
    row.locator("summary").focus()
    element.page.keyboard.press("Enter")
    expect(row.locator("[part=limit]")).not_to_be_empty()
    return row.locator("[part=details]")


def test_the_details_of_a_row_say_what_limits_it_and_give_a_report_to_copy(element: Element, film: KnownFile) -> None:
    element.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    element.open()
    row = element.slowly(film.path)
    details = open_details(element, row)
    expect(details.locator("[part=limit]")).to_contain_text("This page limits the upload to 300", timeout=20_000)
    figures = dict(zip(*(details.locator(tag).all_text_contents() for tag in ("dt", "dd")), strict=True))
    assert figures["Transport"] == "WebSocket"
    assert int(figures["Connections"]) >= 1
    assert figures["Speed"].endswith("kB/s")
    assert element.axe() == []
    element.page.keyboard.press("Tab")
    element.expect_focus("Copy report")
    element.page.keyboard.press("Enter")
    element.expect_focus("Report copied")
    wait_until(lambda: "Report copied" in element.heard(), "the copy to be announced")
    report = element.page.evaluate("navigator.clipboard.readText()")
    ticket = element.page.evaluate(f"{ELEMENT}.queue.snapshot().uploads[0].upload_id")
    assert "limit: browser\n" in report
    assert "transport: websocket\n" in report
    assert ticket not in report
    assert "film" not in report
    element.page.evaluate(FAST)
    finished(element)
    expect(details).to_be_hidden()


def test_without_the_permission_to_write_to_the_clipboard_the_report_is_shown_and_selected(
    element: Element, film: KnownFile
) -> None:
    element.open()
    refuse = "() => Promise.reject(new DOMException('', 'NotAllowedError'))"
    element.page.evaluate(f"() => {{ navigator.clipboard.writeText = {refuse}; }}")
    row = element.slowly(film.path)
    open_details(element, row)
    # A browser that does not copy in this way either.
    element.page.evaluate("() => { document.execCommand = () => false; }")
    element.button("Copy report film.mp4", row).click()
    report = row.locator("textarea")
    expect(report).to_be_visible()
    selected = report.evaluate("(node) => node.value.slice(node.selectionStart, node.selectionEnd)")
    assert "state: transferring" in selected
    expect(element.button("Copy report film.mp4", row)).to_be_visible()
    assert element.axe() == []
    element.page.evaluate("() => { delete document.execCommand; }")
    element.button("Copy report film.mp4", row).click()
    expect(element.button("Report copied film.mp4", row)).to_be_visible()


@pytest.mark.parametrize("colours", ["light", "dark", "forced"])
def test_axe_finds_nothing_in_any_state(
    colours: str, refused: Element, app: ElementApp, film: KnownFile, tmp_path: Path
) -> None:
    element = refused
    app.head = '<meta name="color-scheme" content="light dark">'
    element.page.emulate_media(
        color_scheme="dark" if colours == "dark" else "light", forced_colors="active" if colours == "forced" else "none"
    )
    element.open("folders required accept='.mp4,.txt'")
    assert element.axe() == [], "empty"
    app.away = Answer(503, "busy")
    element.choose(film.path)
    expect(element.rows.first).to_have_attribute("data-state", "waiting")
    assert element.axe() == [], "waiting for the app"
    app.away = None
    element.page.evaluate(SLOWLY)
    expect(element.rows.first).not_to_have_attribute("data-state", "waiting", timeout=60_000)
    other = make_file(tmp_path / "other.txt", 20 * MIB)
    element.choose(other.path, make_file(tmp_path / "refused.exe", 5).path)
    expect(element.host.locator("[part=problems]")).to_contain_text("refused.exe")
    expect(element.rows.first.locator("[part=status]")).to_contain_text("% · ", timeout=20_000)
    assert element.axe() == [], "in progress"
    element.button("Pause other.txt").click()
    expect(element.rows.nth(1)).to_have_attribute("data-state", "paused")
    assert element.axe() == [], "paused"
    element.button("Cancel other.txt").click()
    element.page.evaluate(FAST)
    finished(element)
    app.away = Answer(403, "Not for you", {"Content-Type": "text/plain"})
    element.choose(other.path)
    expect(element.rows.nth(2).locator("[part=status]")).to_contain_text("Failed: Not for you")
    assert element.axe() == [], "finished, cancelled and failed"


def test_a_lost_connection_is_shown_without_alarm_and_announced_once(
    refused: Element, server: IncomingServer, start_proxy: StartProxy, film: KnownFile
) -> None:
    element = refused
    proxy: FaultProxy = start_proxy(server.port)
    element.open(f'server="{proxy.host}"')
    row = element.slowly(film.path)
    proxy.refuse()
    proxy.cut()
    status = row.locator("[part=status]")
    expect(status).to_contain_text("Connection lost, connecting again · Nothing is lost", timeout=20_000)
    expect(status).to_contain_text("Next try in", timeout=20_000)
    wait_until(lambda: any("Connection lost" in line for line in element.heard()), "the trouble to be told of")
    proxy.accept()
    element.button("Try now film.mp4", row).click()
    element.page.evaluate(FAST)
    finished(element)
    heard = [line for line in element.heard() if "Connection lost" in line]
    assert heard == ["film.mp4: Connection lost, connecting again. Nothing is lost; the upload continues by itself"]


def test_arabic_is_loaded_when_it_is_needed_and_runs_from_right_to_left(element: Element, film: KnownFile) -> None:
    loaded: list[str] = []
    element.page.on("request", lambda request: loaded.append(request.url.rpartition("/frontend/")[2]))
    element.open(lang="ar")
    assert "locales/ar.mjs" in loaded
    assert [name for name in loaded if name.startswith("locales/")] == ["locales/ar.mjs"]
    expect(element.host.locator("[part~=choose]")).to_have_text("اختيار ملفات")
    element.choose(film.path)
    finished(element)
    row = element.rows.first.locator("[part=row]")
    assert row.evaluate("(node) => getComputedStyle(node).direction") == "rtl"
    expect(element.rows.first.locator("[part=status]")).to_contain_text("اكتمل")
    element.page.evaluate("document.documentElement.lang = 'de'")
    expect(element.host.locator("[part~=choose]")).to_have_text("Dateien auswählen")
    assert element.axe() == []


def test_every_text_comes_from_the_language_pack(
    refused: Element, app: ElementApp, film: KnownFile, tmp_path: Path
) -> None:
    """With a pack whose texts are in brackets nothing else is left but names and figures."""
    element = refused
    pack = {"language": "qaa"}
    source = (ROOT / "incoming" / "js" / "dist" / "locales" / "en.mjs").read_text()
    element.open("folders required max-size=9MB")
    english: dict[str, Any] = element.page.evaluate(
        "(text) => import(URL.createObjectURL(new Blob([text], { type: 'text/javascript' }))).then((m) => m.default)",
        source,
    )
    for key, message in english.items():
        forms = {"other": message} if isinstance(message, str) else message
        if key != "language":
            pack[key] = f"[{forms['other']}]"
    module = element.page.locator("script[type=module]").get_attribute("src")
    element.page.evaluate(
        "([url, pack]) => import(url).then((module) => module.add_language(JSON.parse(pack)))",
        [module, json.dumps(pack)],
    )
    element.page.evaluate("document.documentElement.lang = 'qaa'")
    expect(element.host.locator("[part~=choose]")).to_have_text("[Choose files]")
    element.slowly(
        film.path, make_file(tmp_path / "large.bin", 10 * MIB).path, make_file(tmp_path / "b.txt", 8 * MIB).path
    )
    open_details(element, element.rows.first)
    expect(element.rows.first.locator("dd").nth(3)).not_to_be_empty()
    seen = set(element.page.evaluate(TEXTS))
    app.away = Answer(503, "busy")
    element.button("Pause").first.click()
    element.choose(make_file(tmp_path / "c.txt", 5).path)
    expect(element.rows.last).to_have_attribute("data-state", "waiting")
    seen |= set(element.page.evaluate(TEXTS))
    assert len(seen) > 12
    figures = r"\[.*\]|[\w.]+\.(mp4|bin|txt)|[\d.,]+%?(\s?(k|M|G)?B(/s)?|\sbytes?|\sms|\ssecs?|\smins?)*|·"
    figures += r"|\d+ / \d+|WebSocket"
    assert [text for text in seen if not re.fullmatch(figures, text, re.DOTALL)] == []


def test_after_a_reload_unfinished_uploads_are_listed_and_resume_with_the_same_file(
    element: Element, app: ElementApp, film: KnownFile
) -> None:
    element.open("no-leave-warning")
    element.slowly(film.path)
    wait_until(lambda: element.page.evaluate(f"{ELEMENT}.queue.snapshot().bytes_acked") > MIB // 2, "half a MiB")
    element.page.reload()
    unfinished = element.host.locator("incoming-unfinished")
    expect(unfinished).to_contain_text("film.mp4")
    expect(unfinished).to_contain_text("has arrived")
    expect(unfinished).to_contain_text("Choose the same file again to continue")
    assert element.axe() == []
    element.choose(film.path)
    finished(element)
    assert len(app.asked) == 1, "it went on with its own ticket"
    expect(unfinished.locator("section")).to_be_hidden()
    app.assert_received(element.page.evaluate(f"{ELEMENT}.value[0]"), film)


def test_an_upload_whose_file_handle_was_kept_resumes_by_one_press(element: Element, app: ElementApp) -> None:
    element.open("no-leave-warning")
    element.page.evaluate(SLOWLY)
    element.page.evaluate(
        f"""async (size) => {{
            const folder = await navigator.storage.getDirectory();
            const handle = await folder.getFileHandle("film.mp4", {{ create: true }});
            const stream = await handle.createWritable();
            await stream.write(new Uint8Array(size));
            await stream.close();
            {ELEMENT}.queue.add([{{ file: await handle.getFile(), handle }}]);
        }}""",
        20 * MIB,
    )
    kept = "Object.values(localStorage).some((one) => /can_continue.:true/.test(one))"
    wait_until(lambda: element.page.evaluate(kept), "the handle to be kept")
    element.page.reload()
    element.button("Continue film.mp4").click()
    finished(element)
    assert len(app.asked) == 1
    assert app.receipts[element.page.evaluate(f"{ELEMENT}.value[0]")].size == 20 * MIB


def test_a_disabled_element_takes_no_files(element: Element, app: ElementApp) -> None:
    element.open("disabled")
    expect(element.host.locator("[part~=choose]")).to_be_disabled()
    element.page.evaluate(f"{ELEMENT}.removeAttribute('disabled')")
    expect(element.host.locator("[part~=choose]")).to_be_enabled()


def test_files_are_dropped_and_those_beyond_the_limits_are_named(element: Element, app: ElementApp) -> None:
    element.open("max-size=1kB accept='.txt' max-files=2")
    drop = """(names) => {
        const transfer = new DataTransfer();
        for (const [name, size] of names) transfer.items.add(new File(["x".repeat(size)], name));
        const area = document.querySelector("incoming-uploader").shadowRoot.querySelector("incoming-drop-area");
        for (const type of ["dragover", "drop"]) {
            const how = { dataTransfer: transfer, bubbles: true, composed: true, cancelable: true };
            const event = new DragEvent(type, how);
            area.dispatchEvent(event);
            if (!event.defaultPrevented) throw new Error(`${type} is not taken`);
        }
    }"""
    names = [["a.txt", 10], ["b.exe", 10], ["c.txt", 2000], ["d.txt", 10], ["e.txt", 10]]
    element.page.evaluate(drop, names)
    finished(element, 2)
    problems = element.host.locator("[part=problems] li")
    expect(problems).to_have_text(
        ["Files like b.exe are not accepted", "c.txt is larger than 1 kB", "At most 2 files can be chosen"]
    )
    assert {asked["filename"] for asked in app.asked} == {"a.txt", "d.txt"}
    said = {text.replace("\u00a0", " ") for text in problems.all_text_contents()}
    assert said <= set(element.heard())


@pytest.mark.parametrize("width", [320, 1200])
def test_nothing_is_wider_than_the_page(width: int, element: Element, tmp_path: Path) -> None:
    element.page.set_viewport_size({"width": width, "height": 700})
    element.open("folders", lang="de")
    element.slowly(make_file(tmp_path / ("long" * 40 + ".mp4"), 20 * MIB).path, make_file(tmp_path / "b.mp4", MIB).path)
    assert element.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("count", [1, 2])
def test_the_border_above_the_first_row_touches_nothing(count: int, element: Element, tmp_path: Path) -> None:
    """With one file there is no total between the drop area and the rows."""
    element.open().choose(*[make_file(tmp_path / f"{number}.txt", 3).path for number in range(count)])
    finished(element, count)
    above = element.host.locator("[part~=drop-area]" if count == 1 else "incoming-total [part~=total]").bounding_box()
    below = element.host.locator("incoming-list li").first.bounding_box()
    assert above
    assert below
    assert below["y"] - (above["y"] + above["height"]) >= 8


def test_the_title_has_the_percentage_while_files_are_uploaded_and_the_page_asks_before_it_is_left(
    element: Element, film: KnownFile
) -> None:
    element.open()
    element.slowly(film.path)
    wait_until(lambda: element.page.title().endswith("% · Films"), "the percentage in the title")
    asked: list[str] = []
    element.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    element.host.locator("[part~=pause]").first.focus()
    element.page.close(run_before_unload=True)
    # A round trip to the tab lets its events in.
    wait_until(lambda: element.page.title() and asked == ["beforeunload"], "the browser's question")
    element.page.evaluate(FAST)
    finished(element)
    assert element.page.title() == "Films"


def test_the_parts_work_alone_with_a_queue_of_the_page(element: Element, film: KnownFile) -> None:
    element.open()
    element.page.evaluate(
        """async (library) => {
            const { Queue } = await import(library);
            const queue = Queue(() => fetch("/ticket", { method: "POST" }));
            for (const name of ["incoming-drop-area", "incoming-total", "incoming-list"]) {
                const part = document.createElement(name);
                part.id = name;
                part.queue = queue;
                document.querySelector("main").append(part);
            }
            document.querySelector("incoming-uploader").remove();
        }""",
        element.page.locator("script[type=module]").evaluate("(node) => new URL('incoming.mjs', node.src).href"),
    )
    alone = element.page.locator("#incoming-drop-area")
    alone.locator("input[type=file]").first.set_input_files(str(film.path))
    expect(element.page.locator("#incoming-list incoming-row[data-state=finished]")).to_have_count(1, timeout=30_000)


def test_what_was_set_before_the_element_was_defined_is_kept(
    element: Element, app: ElementApp, film: KnownFile
) -> None:
    """Elements of another document are not defined: they are when they come into the page."""
    element.open()
    ticket = app.new_ticket()
    element.page.evaluate(
        """(ticket) => {
            const early = document.implementation.createHTMLDocument().createElement("incoming-uploader");
            Object.assign(early, { get_ticket: () => ticket, name: "early", other: 1 });
            document.querySelector("incoming-uploader").replaceWith(early);
        }""",
        ticket,
    )
    assert element.page.evaluate(f"[{ELEMENT}.getAttribute('name'), {ELEMENT}.other]") == ["early", 1]
    element.choose(film.path)
    finished(element)
    assert element.page.evaluate("new FormData(document.querySelector('form')).getAll('early')") == [ticket]
    assert app.asked == [], "no ticket is asked for at ticket-url"
    parts = """() => {
        const early = document.implementation.createHTMLDocument().createElement("incoming-list");
        early.queue = document.querySelector("incoming-uploader").queue;
        document.body.append(early);
    }"""
    element.page.evaluate(parts)
    expect(element.page.locator("body > incoming-list incoming-row")).to_have_count(1)


def test_a_strict_content_security_policy_and_a_slip_in_an_attribute(
    page: Page, app: ElementApp, server: IncomingServer, film: KnownFile
) -> None:
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    policy = (
        f"default-src 'none'; script-src {server.base_url}; connect-src 'self' {server.base_url} ws://{server.host}"
    )
    app.head = f'<meta http-equiv="Content-Security-Policy" content="{policy}; img-src data:">'
    element = Element(page, app).open("max-fils=3 colour=red data-max-file=3 concurrency=many max-files=0")
    element.choose(film.path)
    finished(element)
    assert messages == [
        'incoming: <incoming-uploader> has no attribute "max-fils"; did you mean "max-files"?',
        'incoming: <incoming-uploader> has concurrency="many", which is no number from 1 on',
        'incoming: <incoming-drop-area> has max-files="0", which is no number from 1 on',
    ]
    assert (
        element.host.locator("[part~=drop-area]").evaluate("(node) => getComputedStyle(node).borderStyle") == "dashed"
    )
