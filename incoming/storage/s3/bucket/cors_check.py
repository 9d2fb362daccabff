"""Whether pages of given origins may PUT parts to a store, found out by doing what their browsers do.

Decides what is missing in the bucket's CORS rule (Fetch standard, 3.2). A browser tells a page only that there was no
answer, whatever is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from incoming.settings.object_stores import ObjectStore
from incoming.storage.s3.bucket.findings import Finding, Kind
from incoming.storage.s3.requests.client import S3Client
from incoming.storage.s3.requests.http_sender import Answer, Body, HttpSender, Unreachable

LIFETIME = 60.0
"""Seconds for which the signed URL of the part is valid."""

THROUGH = "until then their files go through this server"


class CorsCheck:
    """That of one store. What it stores is a part of an upload with this key, which is aborted at the end."""

    def __init__(self, store: ObjectStore, client: S3Client, key: str) -> None:
        self._store = store
        self._client = client
        self._key = key

    async def run(self, origins: Sequence[str]) -> list[Finding]:
        """Return a finding for each origin. Raises S3Error, Unreachable, StorageFailed."""
        upload = await self._client.create_upload(self._key, {})
        try:
            url = urlsplit((await self._client.presign_parts(self._key, upload, [(1, 1)], LIFETIME))[0])
            sender = HttpSender(f"{url.scheme}://{url.netloc}", self._store.ca_file)
            try:
                return [await self._try_origin(sender, url.netloc, f"{url.path}?{url.query}", one) for one in origins]
            except Unreachable as error:
                cure = "correct public_endpoint; if only this machine cannot reach it, try it from a browser"
                return [Finding(Kind.WARNING, f"the store as browsers reach it does not answer: {error}", cure)]
            finally:
                sender.close()
        finally:
            await self._client.abort_upload(self._key, upload)

    async def _try_origin(self, sender: HttpSender, host: str, target: str, origin: str) -> Finding:
        asked = {"Host": host, "Origin": origin}
        preflight = await sender.request("OPTIONS", target, {**asked, "Access-Control-Request-Method": "PUT"})
        if not 200 <= preflight.status < 300 or not _is_allowed(preflight, origin):
            return Finding(
                Kind.WARNING,
                f"pages of {origin} may not PUT to this bucket: its answer to their preflight is {_told(preflight)}",
                f"add a CORS rule to the bucket with AllowedOrigin {origin}, AllowedMethod PUT and AllowedHeader *; "
                + THROUGH,
            )
        if "PUT" not in _listed(preflight, "Access-Control-Allow-Methods"):
            return Finding(
                Kind.WARNING,
                f"pages of {origin} may not PUT to this bucket: its answer to their preflight allows "
                f"{', '.join(_listed(preflight, 'Access-Control-Allow-Methods')) or 'no method'}",
                f"add AllowedMethod PUT to the CORS rule; {THROUGH}",
            )
        answer = await sender.request("PUT", target, asked, Body.of(b"x"))
        if answer.status != 200:
            return Finding(
                Kind.WARNING,
                f"pages of {origin} may PUT, but a part with a signed URL is answered {answer.status}",
                f"name the store in public_endpoint as browsers reach it; a proxy must keep Host and query; {THROUGH}",
            )
        if not _is_allowed(answer, origin):
            return Finding(
                Kind.WARNING,
                f"pages of {origin} may not see the answer to a PUT: it is {_told(answer)}",
                f"let the proxy in front of the store pass Access-Control-Allow-Origin; {THROUGH}",
            )
        exposed = "etag" in (name.lower() for name in _listed(answer, "Access-Control-Expose-Headers"))
        more = "ETag is exposed" if exposed else "ETag is not exposed, which is not needed"
        return Finding(Kind.GOOD, f"pages of {origin} may PUT parts to this bucket ({more})")


def _is_allowed(answer: Answer, origin: str) -> bool:
    return answer.headers.get("Access-Control-Allow-Origin", "") in ("*", origin)


def _listed(answer: Answer, name: str) -> list[str]:
    return [item.strip() for item in answer.headers.get(name, "").split(",") if item.strip()]


def _told(answer: Answer) -> str:
    allowed = answer.headers.get("Access-Control-Allow-Origin")
    return f"{answer.status} " + (f"for {allowed}" if allowed else "without Access-Control-Allow-Origin")
