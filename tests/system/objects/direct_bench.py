"""A page of an application, a server and an object store of three origins: what tests of direct uploads drive."""

import hashlib
from collections.abc import Callable
from typing import Any

from tests.support.app_stub import Answer, AppStub
from tests.support.app_stub import Callback as AppCallback
from tests.support.browser_tab import Tab
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile
from tests.system.e2e.upload_app import Receipt, UploadApp
from tests.system.e2e.upload_page import PageUpload, UploadPage

PART = 64 * 1024
"""Bytes of a part: small, so that files of some MiB have many."""


class ObjectApp(UploadApp):
    """An application whose files are objects, which it reads by `read` with their keys."""

    def __init__(self, backend: str, read: Callable[[str], bytes], **others: Any) -> None:
        super().__init__(backend, **others)
        self._read = read

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def new_ticket(self, **parameters: str) -> str:
        return super().new_ticket(destType="s3", **parameters)

    def answer(self, callback: AppCallback) -> Answer:
        if callback.method == "GET" or callback.params["cancelled"] != "no":
            return super().answer(callback)
        content = self._read(callback.params["key"])
        digest = hashlib.sha256(content).hexdigest()
        self.receipts[callback.params["id"]] = Receipt(callback.params["filenameFromBrowser"], len(content), digest)
        return AppStub.answer(self, callback)


COUNT_FAILURES = """(store) => {
    window.failed_parts = 0;
    const { open } = XMLHttpRequest.prototype;
    XMLHttpRequest.prototype.open = function (method, url) {
        const is_part = new URL(url, location).origin === store;
        if (is_part) this.addEventListener("loadend", () => (failed_parts += this.status < 200 || this.status >= 300));
        return open.call(this, method, url);
    };
}"""
"""Counts what the store has not taken, as the page sees it."""


class DirectBench:
    """One server with its application, and the tab that shows its page."""

    def __init__(self, server: IncomingServer, app: ObjectApp, tab: Tab, bucket: str) -> None:
        self.server = server
        self.app = app
        self.bucket = bucket
        self.page = UploadPage(tab, app, server.host).open()

    def count_failures(self, store: str) -> Callable[[], int]:
        """Return what tells how many parts the store at this URL has not taken from the page from now on."""
        self.page.tab.evaluate(COUNT_FAILURES, store)
        return lambda: int(self.page.tab.evaluate("window.failed_parts"))

    def upload(self, file: KnownFile, ticket: str = "", **parameters: str) -> PageUpload:
        """Return an upload that is not started, of a new ticket if none is given."""
        self.ticket = ticket or self.app.new_ticket(**parameters)
        return self.page.upload(self.ticket, file.path)

    def assert_received(self, file: KnownFile) -> None:
        """The application has read exactly this file, and nothing tells a signed URL."""
        self.app.assert_received(self.ticket, file)
        assert "X-Amz-Signature" not in self.server.log


def transports(upload: PageUpload) -> set[str]:
    """Return by which transports bytes were sent; all of a small file may be acknowledged at once."""
    sent = (moment for moment in upload.moments if moment.connected and moment.bytes_tx and moment.frac_complete < 1)
    return {moment.transport for moment in sent}
