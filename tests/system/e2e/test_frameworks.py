"""The snippets of doc/frameworks.md, bundled with their frameworks and run in a browser."""

import subprocess

import pytest
from playwright.sync_api import expect

from tests.support.tools import ROOT, require_node_package, require_tool
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import UploadPage

FRAMEWORKS = {"React": "react", "Vue": "vue", "Svelte": "svelte", "Alpine": "alpinejs"}
CONTENT = "a file of 27 bytes, exactly"


def bundle(framework: str) -> str:
    require_node_package(FRAMEWORKS[framework])
    make = [require_tool("node"), "tests/system/e2e/frameworks.mjs", framework]
    return subprocess.run(make, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_component_shows_its_upload_from_start_to_finish(
    framework: str, upload_page: UploadPage, app: UploadApp
) -> None:
    tab, ticket = upload_page.tab, app.new_ticket()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.add_script_tag(content=bundle(framework))
    app.hold()
    tab.evaluate("([ticket, text]) => mount(ticket, new File([text], 'a.txt'))", [ticket, CONTENT])
    # A component is mounted, cleaned up and mounted again in React's StrictMode; the mounted one wins.
    expect(tab.locator("output")).to_have_text("handing file to app", timeout=30_000)
    expect(tab.locator("button")).to_be_disabled()
    app.release()
    expect(tab.locator("output")).to_have_text("all done", timeout=30_000)
    wait_until(lambda: ticket in app.receipts, "the file at the app")
    assert app.receipts[ticket].size == len(CONTENT)
    assert errors == []
