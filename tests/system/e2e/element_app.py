"""A web application whose page has the element in it: it gives tickets at /ticket, and takes the files."""

import html
from typing import Any

from tests.support.app_stub import Answer, Callback
from tests.system.e2e.upload_app import UploadApp

MODULE = "/incoming/0.1/frontend/incoming-uploader.mjs"


class ElementApp(UploadApp):
    """Every GET gets the page with `attributes` and `head` in it; while `away` is set, /ticket answers with that."""

    def __init__(self, backend: str, **others: Any) -> None:
        super().__init__(backend, **others)
        self.asked: list[dict[str, str]] = []
        self.away: Answer | None = None
        self.attributes = ""
        self.lang = "en"
        self.head = ""

    def answer(self, callback: Callback) -> Answer:
        if callback.method == "GET":
            return Answer(200, self._page(), {"Content-Type": "text/html; charset=utf-8"})
        if callback.path == "/ticket":
            self.asked.append(callback.params)
            return self.away or Answer(200, self.new_ticket(), {"Content-Type": "text/plain"})
        return super().answer(callback)

    def _page(self) -> str:
        direction = "rtl" if self.lang in ("ar", "fa", "he") else "ltr"
        return f"""<!DOCTYPE html>
<html lang="{self.lang}" dir="{direction}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Films</title><link rel="icon" href="data:,">{self.head}
<script type="module" src="{html.escape(self._backend + MODULE)}"></script>
<main><h1>Films</h1>
<form><incoming-uploader ticket-url="/ticket" name="films" {self.attributes}></incoming-uploader></form></main>
</html>"""
