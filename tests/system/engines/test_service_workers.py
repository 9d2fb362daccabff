"""Uploads by a service worker, in each engine: the way that doc/api.md shows, and what the other one says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.app_stub import Answer, Callback
from tests.support.browser_tab import Tab
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.system.clients.snippets import snippet
from tests.system.e2e.upload_app import UploadApp

MIB = 1 << 20
DOCUMENTED = snippet("service-worker", "api.md")
IMPORT, REST = DOCUMENTED.split("\n\n", 1)
LIBRARY = "https://INCOMING_HOST/incoming/0.1/frontend/incoming"
WORKERS = {
    "module": DOCUMENTED,
    "classic": f'importScripts("{LIBRARY}.js");\n{REST}',
    "other": f'import * as incoming from "{LIBRARY}.mjs";\n{REST}',
}
PAGE = '<!DOCTYPE html><html lang="en"><title>Films</title><link rel="icon" href="data:,"><input type="file" id="file">'

# Gives the worker a file, and returns all snapshots that it sends until the upload ends, or for a minute.
UPLOAD = """async ([kind, ticket, shape]) => {
    const url = `/worker.js?kind=${kind}`;
    const registration = await navigator.serviceWorker.register(url, { type: kind === "classic" ? kind : "module" });
    const worker = registration.installing ?? registration.waiting ?? registration.active;
    while (!["activated", "redundant"].includes(worker.state)) {
        await new Promise((resolve) => worker.addEventListener("statechange", resolve, { once: true }));
    }
    const chosen = document.getElementById("file").files[0];
    const blob = chosen.slice(0, chosen.size);
    const file = shape === "chosen" ? chosen : new File([blob], chosen.name);
    const seen = [];
    const ended = new Promise((resolve) => {
        navigator.serviceWorker.onmessage = ({ data }) => {
            seen.push(data);
            if (data.finished || data.failed) resolve();
        };
    });
    worker.postMessage({ ticket, file });
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 60_000))]);
    await registration.unregister();
    return seen;
}"""

pytestmark = pytest.mark.parametrize("engine", ["chromium", "firefox", "webkit"])


class WorkerApp(UploadApp):
    """A page and its service worker, which has the library of the server."""

    def __init__(self, server: IncomingServer) -> None:
        super().__init__(server.base_url)
        self._host = server.host

    def answer(self, callback: Callback) -> Answer:
        if callback.method != "GET":
            return super().answer(callback)
        if callback.path != "/worker.js":
            return Answer(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})
        source = WORKERS[callback.query["kind"]]
        for written, meant in {"https://INCOMING_HOST": "http://INCOMING_HOST", "INCOMING_HOST": self._host}.items():
            source = source.replace(written, meant)
        return Answer(200, source, {"Content-Type": "text/javascript"})


@pytest.fixture
def app(server: IncomingServer) -> Iterator[WorkerApp]:
    with WorkerApp(server) as app:
        yield app


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "film.bin", 3 * MIB + 1)


def upload(tab: Tab, app: WorkerApp, kind: str, ticket: str, file: KnownFile, shape: str = "chosen") -> Any:
    tab.goto(app.page_url)
    tab.set_input_files("#file", file.path)
    return tab.evaluate(UPLOAD, [kind, ticket, shape])


@pytest.mark.parametrize("shape", ["chosen", "blob"])
@pytest.mark.parametrize("kind", ["module", "classic"])
def test_a_service_worker_uploads_with_the_classic_script(
    tab: Tab, app: WorkerApp, file: KnownFile, kind: str, shape: str
) -> None:
    ticket = app.new_ticket()
    seen = upload(tab, app, kind, ticket, file, shape)
    app.assert_received(ticket, file)
    assert (seen[-1]["state"], seen[-1]["bytes_acked"]) == ("finished", file.size)
    assert {one["transport"] for one in seen if one["connected"]} == {"websocket"}


def test_with_the_module_an_upload_fails_at_once_and_says_what_to_import(
    tab: Tab, app: WorkerApp, file: KnownFile
) -> None:
    ticket = app.new_ticket()
    end = upload(tab, app, "other", ticket, file)[-1]
    assert (end["state"], end["error_code"], end["error_name"]) == ("failed", 1003, "bad_argument")
    assert "incoming.js" in end["error_msg"]
    assert "incoming-upload/script" in end["error_msg"]
