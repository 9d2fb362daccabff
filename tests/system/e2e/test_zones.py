"""The library in a page with zone.js, as applications in Angular may have it: in which zone it calls back."""

import pytest
from playwright.sync_api import Page

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile
from tests.support.tools import require_node_package
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import PageUpload, UploadPage

START = """([ticket, inside]) => {
    window.seen = { faults: [], called_in: new Set(), run_in: new Set(), shown: "" };
    const zone = Zone.root.fork({ name: "app", onHandleError: (...given) => seen.faults.push(String(given[3])) });
    const start = () => {
        const number = make_upload(ticket, chosen_file());
        const { uploader } = uploads[number];
        uploader.subscribe(({ state_msg }) => {
            seen.called_in.add(Zone.current.name);
            zone.run(() => {
                seen.run_in.add(Zone.current.name);
                seen.shown = state_msg;
            });
        });
        uploader.start();
        return number;
    };
    return (inside ? zone : Zone.root).run(start);
}"""
SEEN = "({ ...seen, called_in: [...seen.called_in], run_in: [...seen.run_in] })"


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
def test_callbacks_are_called_in_the_zone_of_the_start_or_none_and_can_enter_any(
    inside: bool, transport: str, page: Page, server: IncomingServer, app: UploadApp, file: KnownFile
) -> None:
    page.add_init_script(path=require_node_package("zone.js") / "bundles" / "zone.umd.min.js")
    UploadPage(page, app, server.host).open(transport=transport)
    assert "ZoneAwarePromise" in page.evaluate("String(Promise)"), "zone.js has patched the page"
    page.set_input_files("#file", file.path)
    upload = PageUpload(page, page.evaluate(START, [app.new_ticket(), inside]))
    upload.wait_until_finished()
    upload.assert_lawful()
    seen = page.evaluate(SEEN)
    assert set(seen["called_in"]) <= ({"<root>", "app"} if inside else {"<root>"})
    assert (seen["run_in"], seen["shown"], seen["faults"]) == (["app"], "all done", [])
    app.assert_received(upload.now.upload_id, file)
