"""Where the library looks for its server, in pages and places that make that hard to know."""

import pytest

from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import SCRIPT, UploadPage

UPLOAD = """
    incoming.set_server_hostname(host);
    const uploader = incoming.Uploader(ticket, new File(["a file"], "a.txt")).start();
    uploader.onfinished = uploader.onerror = ({ state_msg }) => report(state_msg);
"""
IN_A_WORKER = (
    """([script, host, ticket]) => {
    window.reports = [];
    const source = `importScripts(${JSON.stringify(script)});
        const [host, ticket] = ${JSON.stringify([host, ticket])};
        const report = (text) => postMessage(text);"""
    + UPLOAD
    + """`;
    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    worker.onmessage = ({ data }) => reports.push(data);
    worker.onerror = ({ message }) => reports.push(message);
}"""
)
IN_A_FRAME = (
    """([script, host, ticket]) => {
    window.reports = [];
    const frame = document.body.appendChild(document.createElement("iframe"));
    frame.srcdoc = `<script src=${JSON.stringify(script)}></` + `script><script>
        const [host, ticket] = ${JSON.stringify([host, ticket])};
        const report = (text) => parent.reports.push(text);"""
    + UPLOAD
    + """</` + `script>`;
}"""
)


@pytest.mark.parametrize("script", [IN_A_WORKER, IN_A_FRAME], ids=["a worker from a blob", "a frame from a string"])
def test_the_scheme_is_that_of_the_page_also_in_a_place_without_a_url(
    script: str, upload_page: UploadPage, app: UploadApp, server: IncomingServer
) -> None:
    ticket = app.new_ticket()
    upload_page.tab.evaluate(script, [server.base_url + SCRIPT, server.host, ticket])
    wait_until(lambda: upload_page.tab.evaluate("reports"), "a report")
    assert upload_page.tab.evaluate("reports") == ["all done"]


def test_a_wrong_prefix_at_a_server_of_another_host_is_an_error_that_names_the_url(
    upload_page: UploadPage, app: UploadApp, server: IncomingServer
) -> None:
    upload_page.tab.evaluate("(host) => incoming.set_server_hostname(host)", f"{server.host}/files")
    upload = upload_page.upload_of("new File(['a file'], 'a.txt')", app.new_ticket()).start()
    end = upload.wait_until_over()
    assert (end.failed, end.error_code) == (True, 106)
    assert f"{server.base_url}/files/incoming/0.1/frontend/upload/" in end.error_msg
