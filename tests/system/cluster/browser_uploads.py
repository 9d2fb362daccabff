"""Uploads by pages in a browser, which are checked as those of programs are, and by what the page shows."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser

from tests.support.known_files import KnownFile, make_file
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import PageUpload, UploadPage
from tests.system.faults.load import new_ticket

SIZE = 6 << 20
RATE = 1 << 20
"""Bytes, and bytes a second of one page."""


@dataclass
class _Tab:
    page: UploadPage
    upload: PageUpload
    ticket: str


class BrowserUploads:
    """One upload after the other in each of several tabs, in turn over WebSockets and over HTTP."""

    def __init__(self, browser: Browser, app: UploadApp, functions: int, host: str, directory: Path, tabs: int) -> None:
        """Tickets come from the port `functions`; pages reach the server at `host`."""
        self.figures: Counter[str] = Counter()
        self.problems: list[str] = []
        self._app = app
        self._functions = functions
        self._file: KnownFile = make_file(directory / "film.mp4", SIZE)
        self._context = browser.new_context()
        self._tabs = [self._open(host, number) for number in range(tabs)]

    def _open(self, host: str, number: int) -> _Tab:
        page = UploadPage(self._context.new_page(), self._app, host)
        page.open(transport=("auto", "http")[number % 2])
        return self._begin(page)

    def _begin(self, page: UploadPage) -> _Tab:
        ticket = new_ticket(self._functions, self._app.url, patience=120.0)
        upload = page.upload(ticket, self._file.path)
        upload.set("max_rate", RATE)
        upload.start()
        return _Tab(page, upload, ticket)

    def renew(self) -> None:
        """Check the uploads that have ended, and begin others."""
        self._tabs = [self._begin(tab.page) if self._is_over(tab) else tab for tab in self._tabs]

    def _is_over(self, tab: _Tab) -> bool:
        now = tab.upload.now
        if not now.over:
            return False
        self.figures["uploads by pages"] += 1
        if not now.finished:
            self.problems.append(f"page: upload {tab.ticket} ended with {now.error_code}: {now.state_msg}")
        elif tab.ticket not in self._app.receipts:
            self.problems.append(f"page: upload {tab.ticket} is finished, and its application was never called")
        elif self._app.receipts[tab.ticket].sha256 != self._file.sha256:
            self.problems.append(f"page: the file of upload {tab.ticket} is not what was sent")
        try:
            tab.upload.assert_lawful()
        except AssertionError as error:
            self.problems.append(f"page: upload {tab.ticket}: {error}")
        self.figures["reconnections of pages"] += _reconnections(tab.upload)
        for moment in tab.upload.moments:
            if moment.error_msg and not moment.failed:
                self.figures[f"pages waited: {moment.error_code}"] += 1
                break
        return True

    def let_all_end(self, wait: Callable[[Callable[[], bool]], bool]) -> None:
        """`wait` returns whether its condition has come true in time."""

        def all_over() -> bool:
            self._tabs = [tab for tab in self._tabs if not self._is_over(tab)]
            return not self._tabs

        if not wait(all_over):
            self.problems += [f"page: upload {tab.ticket} does not end: {tab.upload.now}" for tab in self._tabs]
        self._context.close()


def _reconnections(upload: PageUpload) -> int:
    connected = [moment.connected for moment in upload.moments]
    return max(0, sum(now and not before for before, now in zip([False, *connected], connected, strict=False)) - 1)
