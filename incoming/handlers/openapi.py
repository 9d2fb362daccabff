"""The HTTP interface for backends as an OpenAPI 3.1 document.

The document is openapi.yaml, which a test compares with the code. Decides how it is served: as JSON, to everybody, with
what depends on the installation filled in.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

import incoming
from incoming.core.errors import TABLE
from incoming.handlers.base import Handler

SOURCE = Path(__file__).with_name("openapi.yaml")


def document(public_url: str = "") -> dict[str, Any]:
    """Return the document. `public_url` is where clients reach the server, if the operator has set it."""
    found: dict[str, Any] = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    found["info"]["version"] = incoming.__version__
    found["servers"] = [{"url": f"{public_url}/incoming/0.1"}]
    error = found["components"]["schemas"]["Error"]["properties"]
    error["code"]["enum"] = sorted(TABLE)
    error["name"]["enum"] = sorted(kind("").name for kind in TABLE.values())
    return found


@lru_cache(maxsize=1)
def _served(public_url: str) -> tuple[bytes, str]:
    """Return the document as JSON, and its entity tag."""
    content = json.dumps(document(public_url)).encode()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


class OpenApi(Handler):
    """The document. It has no secret, and pages of any origin may read it, for example a viewer's."""

    async def get(self) -> None:
        content, etag = await asyncio.to_thread(_served, self.services.settings.public_url)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Etag", etag)
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
            return
        self.finish(content)

    head = get
