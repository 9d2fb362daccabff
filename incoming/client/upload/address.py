"""The URLs of an upload. Decides what a person or an application may give for one, and refuses everything else."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_TICKET = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_UPLOAD = re.compile(r"(.*)/incoming/(?:0\.1/)?frontend/upload/([^/]*)/?")
_SCHEMES = ("http", "https")

EXAMPLE = "https://uploads.example.org/incoming/0.1/frontend/upload/TICKET"


class BadAddress(ValueError):
    """No URL of an upload or of a server."""


@dataclass(frozen=True, slots=True)
class UploadAddress:
    """Server, with the prefix of a proxy if there is one, and ticket."""

    server: str
    ticket: str

    @property
    def http(self) -> str:
        """The upload as an HTTP resource."""
        return f"{self.server}/incoming/0.1/frontend/upload/{self.ticket}"

    @property
    def websocket(self) -> str:
        """The WebSocket of the upload."""
        return f"ws{self.server.removeprefix('http')}/incoming/0.1/frontend/upload_ws?ticket={self.ticket}"


def server_url(text: str) -> str:
    """Return the URL of a server, with the prefix of a proxy, without a slash at its end. Raises BadAddress."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise BadAddress(f"{text!r} is no URL of a server, such as https://uploads.example.org{did_you_mean(text)}")
    if parts.username is not None or parts.password is not None:
        raise BadAddress("the URL of a server has no user name and no password: a ticket is all that it takes")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def did_you_mean(text: str) -> str:
    """Return the hint to the URL that a text may mean which is none, because of its scheme; "" if there is none."""
    scheme, found, rest = text.partition("://")
    close = difflib.get_close_matches(scheme.lower(), _SCHEMES, n=1) if found else []
    if close and rest:
        return f"; did you mean {close[0]}://{rest}?" if close[0] != scheme else ""
    bare = re.sub(r"^https?:/?(?!/)", "", text)
    meant = f"http{'s' * text.startswith('https:')}://{bare}"
    return f"; did you mean {meant}?" if bare and not found else ""


def upload_address(text: str) -> UploadAddress | None:
    """Return the address in the URL of an upload, None if it is that of a server. Raises BadAddress."""
    server = server_url(text)
    found = _UPLOAD.fullmatch(server)
    if found is None:
        if "/incoming/" in server:
            raise BadAddress(f"{text!r} is no URL of an upload, such as {EXAMPLE}{_hint(server)}")
        return None
    return UploadAddress(found[1], checked_ticket(found[2]))


def _hint(url: str) -> str:
    """Return the upload that a URL below /incoming/ may mean, such as that of another protocol."""
    ticket = _TICKET.search(url)
    meant = UploadAddress(url.partition("/incoming/")[0], ticket[0].lower()) if ticket else None
    return f"; did you mean {meant.http}?" if meant else ""


def as_address(url: str | UploadAddress) -> UploadAddress:
    """Return the address of an upload. Raises BadAddress."""
    address = upload_address(url) if isinstance(url, str) else url
    if address is None:
        raise BadAddress(f"{url!r} is the URL of a server; that of an upload is like {EXAMPLE}")
    return address


def checked_ticket(text: str) -> str:
    """Return a ticket in lower case. Raises BadAddress."""
    if not _TICKET.fullmatch(text):
        raise BadAddress(f"{text[:100]!r} is no ticket, such as 5ce25494-63eb-4cf1-bd79-3fa9765d2118")
    return text.lower()
