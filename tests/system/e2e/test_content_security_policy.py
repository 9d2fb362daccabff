"""A page whose Content Security Policy lets requests to the server through and no WebSocket."""

from dataclasses import replace

from playwright.sync_api import ConsoleMessage, Page

from tests.support.app_stub import Answer, Callback
from tests.support.incoming_server import IncomingServer
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import UploadPage


class StrictApp(UploadApp):
    """Its page may make requests to the server, and nothing else."""

    def answer(self, callback: Callback) -> Answer:
        answer = super().answer(callback)
        policy = f"connect-src {self._backend}"
        return replace(answer, headers={**answer.headers, "Content-Security-Policy": policy})


def test_a_policy_without_websockets_leads_to_http_and_is_remembered(page: Page, server: IncomingServer) -> None:
    violations: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if "ws://" in message.text:
            violations.append(message.text)

    page.on("console", note)
    with StrictApp(server.base_url) as app:
        upload_page = UploadPage(page, app, server.host).open()
        seen = []
        for _ in range(2):
            upload = upload_page.upload_of("new File(['a file'], 'a.txt')", app.new_ticket()).start()
            upload.wait_until_finished()
            assert {moment.transport for moment in upload.moments} == {"", "http"}
            seen.append(len(violations))
    assert seen[0] > 0, "the policy was to be met"
    assert seen[1] == seen[0], "the second upload tries no WebSocket"
