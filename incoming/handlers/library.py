"""What browsers load, the library, and what tells an operator's tools whether the server is well."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from incoming.core.errors import NotFound, UploadError
from incoming.handlers.base import Handler
from incoming.handlers.caller_access import require_backend_peer
from incoming.handlers.services import Services

DIST = Path(__file__).parent.parent / "js" / "dist"
CHECK_SECONDS = 5.0
"""A store that does not answer within this time counts as not ready."""

_TYPES = {
    "incoming.js": "text/javascript; charset=utf-8",
    "incoming.mjs": "text/javascript; charset=utf-8",
    "incoming.d.ts": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class LibraryFile:
    """One file of the library, as served; the entity tag changes with the content."""

    content: bytes
    content_type: str
    etag: str


def library(directory: Path = DIST) -> dict[str, LibraryFile]:
    """The library's files by name, read once at the start. Raises FileNotFoundError if the installation lacks one."""
    files = {}
    for name, content_type in _TYPES.items():
        content = (directory / name).read_bytes()
        files[name] = LibraryFile(content, content_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return files


class Library(Handler):
    """incoming.js and its siblings, for pages of any origin.

    Browsers ask each time whether their copy is still good, so that an upgraded server never meets an old library.
    """

    def initialize(self, services: Services, files: Mapping[str, LibraryFile]) -> None:  # type: ignore[override]
        super().initialize(services)
        self._files = files

    def get(self, name: str) -> None:
        file = self._files.get(name)
        if file is None:
            raise NotFound("no such URL")
        self.set_header("Content-Type", file.content_type)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Etag", file.etag)
        self.set_header("Access-Control-Allow-Origin", "*")
        # Pages with Cross-Origin-Embedder-Policy load a script from another host only if it says so (Fetch 3.7).
        self.set_header("Cross-Origin-Resource-Policy", "cross-origin")
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
        else:
            self.finish(file.content)

    head = get


class Health(Handler):
    """Whether this worker can do its work, as JSON: 200 when it is ready, 503 with the reasons when it is not.

    `/live` answers 200 as long as there is anybody to answer. Only for backend_networks.
    """

    def prepare(self) -> None:
        require_backend_peer(self.request, self.services.settings)

    async def get(self, live: str | None = None) -> None:
        problems = [] if live else await self._problems()
        self.set_status(503 if problems else 200)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps({"live": True, "ready": not problems, "problems": problems}))

    head = get

    async def _problems(self) -> list[str]:
        problems = ["the server is stopping"] if self.services.upload_service.draining else []
        for what, check in (("database", self.services.tickets.check), ("storage", self.services.janitor.admit)):
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await check()
            except UploadError as error:
                problems.append(f"{what}: {error.message}")
            except TimeoutError:
                problems.append(f"{what}: no answer within {CHECK_SECONDS:g} s")
        return problems
