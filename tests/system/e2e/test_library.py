"""How a page gets the library, what it finds then, and which server the library talks to."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import make_file
from tests.support.tools import ROOT
from tests.system.e2e.upload_app import UploadApp, page
from tests.system.e2e.upload_page import SCRIPT, UploadPage

FRONTENDS = ["/incoming/0.1/frontend/", "/incoming/frontend/"]


@pytest.mark.promise(6, 11, 12, 66, 67)
@pytest.mark.parametrize("frontend", FRONTENDS)
def test_the_library_is_served_under_both_prefixes(
    upload_page: UploadPage, app: UploadApp, server: IncomingServer, tmp_path: Path, frontend: str
) -> None:
    upload_page.open(script=frontend + "incoming.js")
    file = make_file(tmp_path / "file.bin", 100_000)
    ticket = app.new_ticket()
    upload_page.upload(ticket, file.path).start().wait_until_finished()
    app.assert_received(ticket, file)
    assert upload_page.sockets
    for address in upload_page.sockets:
        assert address.startswith(f"ws://{server.host}{frontend}upload_ws?"), address


MODULE_PAGE = """<!DOCTYPE html><link rel="icon" href="data:,"><input type="file" id="file">
<script type="module">
    const before = Object.getOwnPropertyNames(window);
    const module = await import("MODULE_URL");
    window.added = Object.getOwnPropertyNames(window).filter((name) => !before.includes(name));
    window.library = module;
</script>"""

UPLOAD_BY_MODULE = """(ticket) => new Promise((resolve) => {
    const uploader = library.Uploader(ticket, document.getElementById("file").files[0]);
    uploader.onfinished = () => resolve("finished");
    uploader.onerror = () => resolve(uploader.error_msg);
    uploader.start();
})"""

MEMBERS = """() => {
    const uploader = library.Uploader("ticket", new File(["content"], "file"));
    return [...Object.keys(uploader), ...Object.getOwnPropertyNames(Object.getPrototypeOf(uploader))];
}"""


def declared() -> tuple[set[str], set[str]]:
    """What TypeScript is told that the library exports, and that an Uploader has."""
    source = re.sub(r"/\*.*?\*/", "", (ROOT / "incoming/js/dist/incoming.d.ts").read_text(), flags=re.DOTALL)
    [uploader] = re.findall(r"^export interface Uploader \{(.*?)^\}", source, re.MULTILINE | re.DOTALL)
    exported = set(re.findall(r"^export (?:function|const) (\w+)", source, re.MULTILINE))
    return exported, set(re.findall(r"^    (?:readonly )?(\w+)[(:]", uploader, re.MULTILINE))


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_the_library_loads_as_a_module(
    quiet_page: Page, app: UploadApp, server: IncomingServer, tmp_path: Path, frontend: str
) -> None:
    """It is what is declared, adds nothing to the page, and goes to where it came from, as the classic script does."""
    page = quiet_page
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    address = f"{app.page_url}module"
    html = MODULE_PAGE.replace("MODULE_URL", f"{server.base_url}{frontend}incoming.mjs")
    page.route(address, lambda route: route.fulfill(body=html, content_type="text/html"))
    page.context.grant_permissions(["local-network-access"])
    page.goto(address)
    page.wait_for_function("window.library")
    assert page.evaluate("added") == []
    exported, members = declared()
    assert set(page.evaluate("Object.keys(library)")) == exported
    assert set(page.evaluate(MEMBERS)) - {"constructor"} == members
    page.evaluate("(host) => library.set_server_hostname(host)", server.host)
    file = make_file(tmp_path / "file.bin", 100_000)
    page.set_input_files("#file", file.path)
    ticket = app.new_ticket()
    assert page.evaluate(UPLOAD_BY_MODULE, ticket) == "finished"
    app.assert_received(ticket, file)
    assert sockets
    for socket in sockets:
        assert socket.startswith(f"ws://{server.host}{frontend}upload_ws?"), socket


WORKER_PAGE = '<link rel="icon" href="data:,"><input type="file" id="file">'
WORKERS = {
    "module": 'const incoming = await import("URL_OF.mjs");',
    "classic": 'importScripts("URL_OF.js");',
}
IN_A_WORKER = """
onmessage = ({ data: { host, ticket, file } }) => {
    incoming.set_server_hostname(host);
    const uploader = incoming.Uploader(ticket, file);
    uploader.onfinished = () => postMessage("finished");
    uploader.onerror = () => postMessage(uploader.error_msg);
    uploader.start();
};
postMessage("ready");
"""
UPLOAD_BY_WORKER = """([source, type, host, ticket]) => new Promise((resolve) => {
    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })), { type });
    const [file] = document.getElementById("file").files;
    worker.onerror = (event) => resolve(event.message);
    worker.onmessage = ({ data }) => (data === "ready" ? worker.postMessage({ host, ticket, file }) : resolve(data));
})"""


@pytest.mark.parametrize("kind", WORKERS)
def test_the_library_uploads_in_a_worker(
    quiet_page: Page, app: UploadApp, server: IncomingServer, tmp_path: Path, kind: str
) -> None:
    page, address = quiet_page, f"{app.page_url}worker"
    page.route(address, lambda route: route.fulfill(body=WORKER_PAGE, content_type="text/html"))
    page.context.grant_permissions(["local-network-access"])
    page.goto(address)
    file = make_file(tmp_path / "file.bin", 100_000)
    page.set_input_files("#file", file.path)
    ticket = app.new_ticket()
    source = WORKERS[kind].replace("URL_OF", f"{server.base_url}{FRONTENDS[0]}incoming") + IN_A_WORKER
    assert page.evaluate(UPLOAD_BY_WORKER, [source, kind, server.host, ticket]) == "finished"
    app.assert_received(ticket, file)


@pytest.mark.promise(13, 68, 69)
def test_the_library_defines_one_global_name(quiet_page: Page, app: UploadApp, server: IncomingServer) -> None:
    requests: list[str] = []
    quiet_page.on("request", lambda request: requests.append(request.url))
    UploadPage(quiet_page, app, server.host).open()
    assert quiet_page.evaluate("globals_added") == ["incoming"]
    kinds = quiet_page.evaluate("[typeof incoming.set_server_hostname, typeof incoming.Uploader]")
    assert kinds == ["function", "function"]
    assert len(requests) == 2, f"the page and the library load nothing else: {requests}"


@pytest.mark.promise(68)
def test_a_blocked_library_leaves_its_name_undefined(page: Page, app: UploadApp, server: IncomingServer) -> None:
    script = server.base_url + SCRIPT
    page.route(script, lambda route: route.abort())
    page.goto(f"{app.page_url}?script={script}")
    assert page.evaluate("typeof incoming === 'undefined'")


@pytest.mark.promise(71)
def test_the_pages_own_host_is_the_server(
    quiet_page: Page, app: UploadApp, server: IncomingServer, tmp_path: Path
) -> None:
    address = f"{server.base_url}/page-of-the-same-host"
    quiet_page.route(address, lambda route: route.fulfill(body=page(SCRIPT), content_type="text/html"))
    quiet_page.context.grant_permissions(["local-network-access"])
    upload_page = UploadPage(quiet_page, app, server.host)
    quiet_page.goto(address)
    assert quiet_page.evaluate("window.location.host") == server.host
    file = make_file(tmp_path / "file.bin", 100_000)
    ticket = app.new_ticket()
    upload_page.upload(ticket, file.path).start().wait_until_finished()
    app.assert_received(ticket, file)
    assert upload_page.sockets[0].startswith(f"ws://{server.host}/")


@pytest.mark.promise(70)
@pytest.mark.parametrize("spelling", ["{host}", "http://{host}", "{host}/"])
def test_set_server_hostname_selects_the_server(
    upload_page: UploadPage, app: UploadApp, server: IncomingServer, tmp_path: Path, spelling: str
) -> None:
    assert str(server.port) not in app.page_url, "or the page's own host would do"
    upload_page.tab.evaluate("(host) => incoming.set_server_hostname(host)", spelling.format(host=server.host))
    file = make_file(tmp_path / "file.bin", 100_000)
    ticket = app.new_ticket()
    upload_page.upload(ticket, file.path).start().wait_until_finished()
    app.assert_received(ticket, file)
