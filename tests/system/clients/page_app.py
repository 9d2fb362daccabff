"""The application of an upload page that is not the library's."""

from collections.abc import Callable
from typing import Any

from tests.support.app_stub import Answer, Callback
from tests.system.e2e.upload_app import UploadApp

TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8"}


class PageApp(UploadApp):
    """Answers a GET with what `files` has under its path, a POST to one of `endpoints` as that says."""

    def __init__(self, backend: str, **others: Any) -> None:
        super().__init__(backend, **others)
        self.files: dict[str, str] = {}
        self.endpoints: dict[str, Callable[[Callback], Answer]] = {}

    def answer(self, callback: Callback) -> Answer:
        if callback.path in self.endpoints:
            return self.endpoints[callback.path](callback)
        if callback.method != "GET":
            return super().answer(callback)
        content = self.files[callback.path]
        return Answer(200, content, {"Content-Type": TYPES[callback.path.rpartition(".")[2]]})
