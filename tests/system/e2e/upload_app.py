"""A web application for one test: a page with the library in it, tickets from the server, and a note of each file."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.support.app_stub import Answer, AppStub, Callback
from tests.support.known_files import KnownFile, sha256_of
from tests.support.tools import ROOT

PAGE = ROOT / "tests" / "system" / "e2e" / "upload_page.html"


@dataclass(frozen=True)
class Receipt:
    """A file as it was when the server called: the server may remove it as soon as it has the answer."""

    name: str
    size: int
    sha256: str


class UploadApp(AppStub):
    """Answers callbacks as an AppStub does, after it has looked at the file; every GET gets the page.

    The page's query says where the library comes from: `?script=<URL>`.
    """

    def __init__(self, backend: str, **others: Any) -> None:
        super().__init__(**others)
        self.receipts: dict[str, Receipt] = {}
        self._backend = backend

    @property
    def page_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def new_ticket(self, **parameters: str) -> str:
        """A ticket that leads back to this application."""
        return self._call("new_upload", {"signalFinishURL": self.url, **parameters})

    def cancel_upload(self, ticket: str) -> str:
        return self._call("cancel_upload", {"id": ticket})

    def finish_upload(self, ticket: str) -> str:
        return self._call("finish_upload", {"id": ticket})

    def assert_received(self, ticket: str, file: KnownFile, name: str | None = None) -> None:
        """The server has handed over exactly this file."""
        self.wait_for(1, ticket)
        assert self.receipts[ticket] == Receipt(name or file.path.name, file.size, file.sha256)

    def answer(self, callback: Callback) -> Answer:
        if callback.method == "GET":
            return Answer(200, page(callback.query["script"]), {"Content-Type": "text/html; charset=utf-8"})
        if callback.params["cancelled"] == "no":
            path = Path(callback.params["filename"])
            receipt = Receipt(callback.params["filenameFromBrowser"], path.stat().st_size, sha256_of(path))
            self.receipts[callback.params["id"]] = receipt
        return super().answer(callback)

    def _call(self, function: str, parameters: dict[str, str]) -> str:
        answer = requests.post(f"{self._backend}/incoming/0.1/backend/{function}", data=parameters, timeout=30)
        assert answer.status_code == 200, f"{function}: {answer.status_code} {answer.text}"
        return answer.text


def page(script_url: str) -> str:
    """The page, with the library from `script_url` in it."""
    return PAGE.read_text().replace("SCRIPT_URL", html.escape(script_url))
