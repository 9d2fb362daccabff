"""The JavaScript library for browsers, and the health check for operators' tools."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from incoming.core.errors import NotFound, UploadError
from incoming.handlers.base import Handler
from incoming.handlers.caller_access import require_monitor
from incoming.handlers.services import Services
from incoming.wire.http.accept_encoding import best_coding

DIST = Path(__file__).parent.parent / "js" / "dist"
CHECK_SECONDS = 5.0
"""A store that does not answer within this time counts as not ready."""

_SCRIPT = "text/javascript; charset=utf-8"
_DECLARATIONS = "text/plain; charset=utf-8"
_TYPES = {
    "incoming.js": _SCRIPT,
    "incoming.mjs": _SCRIPT,
    "incoming.js.map": "application/json",
    "incoming.mjs.map": "application/json",
    "incoming-transfer.mjs": _SCRIPT,
    "incoming-transfer.mjs.map": "application/json",
    "incoming-direct.mjs": _SCRIPT,
    "incoming-direct.mjs.map": "application/json",
    "incoming-uploader.mjs": _SCRIPT,
    "incoming-uploader.mjs.map": "application/json",
    "incoming-details.mjs": _SCRIPT,
    "incoming-details.mjs.map": "application/json",
    "incoming-uploader.d.mts": _DECLARATIONS,
    "incoming.d.ts": _DECLARATIONS,
    "incoming.d.mts": _DECLARATIONS,
}
_SUFFIXES = {"br": ".br", "gzip": ".gz"}
"""The content codings that may be stored beside a file, the best first."""
IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class LibraryFile:
    """One file of the library, as served; the entity tag changes with the content."""

    content: bytes
    content_type: str
    etag: str
    encoded: Mapping[str, bytes]
    """The same content by coding."""


@dataclass(frozen=True)
class LibraryFiles:
    """All files; `version` identifies their contents."""

    files: Mapping[str, LibraryFile]
    version: str


def library(directory: Path = DIST) -> LibraryFiles:
    """Read the library's files once at the start. Raises FileNotFoundError if the installation lacks one."""
    files = {}
    version = hashlib.sha256()
    packs = {f"locales/{path.name}": _SCRIPT for path in sorted(directory.glob("locales/*.mjs"))}
    for name, content_type in (_TYPES | packs).items():
        content = (directory / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:32]
        version.update(f"{name} {digest} ".encode())
        files[name] = LibraryFile(content, content_type, digest, dict(_encoded(directory, name)))
    return LibraryFiles(files, version.hexdigest()[:16])


def _encoded(directory: Path, name: str) -> Iterator[tuple[str, bytes]]:
    for coding, suffix in _SUFFIXES.items():
        path = directory / (name + suffix)
        if path.exists():
            yield coding, path.read_bytes()


class Library(Handler):
    """incoming.js, the element, what both load later, and language packs: for pages of any origin.

    Browsers revalidate their copy each time, so that an upgraded server has no old library. A URL with the present
    version in it is cached for a year; with another version it is served like the plain one.
    """

    def initialize(self, services: Services, library: LibraryFiles) -> None:  # type: ignore[override]
        super().initialize(services)
        self._library = library

    def get(self, version: str | None, name: str) -> None:
        file = self._library.files.get(name)
        if file is None:
            raise NotFound("no such URL")
        coding = best_coding(self.request.headers.get("Accept-Encoding", ""), tuple(file.encoded))
        self.set_header("Content-Type", file.content_type)
        self.set_header("Cache-Control", IMMUTABLE if version == self._library.version else "no-cache")
        self.set_header("Etag", f'"{file.etag}-{coding}"' if coding else f'"{file.etag}"')
        self.set_header("Vary", "Accept-Encoding")
        self.set_header("Access-Control-Allow-Origin", "*")
        # Pages with Cross-Origin-Embedder-Policy load a script of another origin only with this header (Fetch 3.7).
        self.set_header("Cross-Origin-Resource-Policy", "cross-origin")
        if version is None:
            up = "../" * name.count("/")
            self.set_header("Content-Location", f"{up}{self._library.version}/{name}")
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
            return
        if coding:
            self.set_header("Content-Encoding", coding)
        self.finish(file.encoded[coding] if coding else file.content)

    head = get


class Health(Handler):
    """Whether this worker is ready, as JSON: 200, or 503 with the reasons.

    `/live` answers 200 to any address while the worker responds. The rest is for backend_networks.
    """

    def prepare(self) -> None:
        if "live" not in self.path_args:
            require_monitor(self.request, self.services.settings)

    async def get(self, live: str | None = None) -> None:
        problems = [] if live else await self._problems()
        self.set_status(503 if problems else 200)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps({"live": True, "ready": not problems, "problems": problems}))

    head = get

    async def _problems(self) -> list[str]:
        problems = ["the server is stopping"] if self.services.upload_service.draining else []
        for what, check in (("database", self.services.tickets.check), ("storage", self.services.free_space.require)):
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await check()
            except UploadError as error:
                problems.append(f"{what}: {error.message}")
            except TimeoutError:
                problems.append(f"{what}: no answer within {CHECK_SECONDS:g} s")
        return problems
