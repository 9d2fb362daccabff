"""The library as browsers load it, the server's health, and how URLs that are not there answer."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from incoming.core.errors import StorageFailed
from incoming.handlers.library import DIST, library
from tests.support.one_worker import one_worker

PREFIXES = ["/incoming", "/incoming/0.1"]
TYPES = {
    "incoming.js": "text/javascript; charset=utf-8",
    "incoming.mjs": "text/javascript; charset=utf-8",
    "incoming.js.map": "application/json",
    "incoming.mjs.map": "application/json",
    "incoming.d.ts": "text/plain; charset=utf-8",
    "incoming.d.mts": "text/plain; charset=utf-8",
    "incoming-transfer.mjs": "text/javascript; charset=utf-8",
    "incoming-transfer.mjs.map": "application/json",
    "incoming-direct.mjs": "text/javascript; charset=utf-8",
    "incoming-direct.mjs.map": "application/json",
    "incoming-uploader.mjs": "text/javascript; charset=utf-8",
    "incoming-uploader.mjs.map": "application/json",
    "incoming-details.mjs": "text/javascript; charset=utf-8",
    "incoming-details.mjs.map": "application/json",
    "incoming-uploader.d.mts": "text/plain; charset=utf-8",
}


@pytest.mark.promise(12, 66, 67)
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", TYPES)
async def test_the_library_is_served(name: str, prefix: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        response = await worker.fetch("GET", f"{prefix}/frontend/{name}", headers={"Origin": "https://app.example.org"})
        assert response.code == 200
        assert response.body == (DIST / name).read_bytes()
        assert response.headers["Content-Type"] == TYPES[name]
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Server"] == "Incoming"


@pytest.mark.parametrize("version", ["", "0123456789abcdef/"])
async def test_language_packs_are_beside_the_element(version: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        packs = sorted(path.name for path in (DIST / "locales").glob("*.mjs"))
        assert len(packs) > 20
        for name in packs:
            response = await worker.fetch("GET", f"/incoming/0.1/frontend/{version}locales/{name}")
            assert (response.code, response.body) == (200, (DIST / "locales" / name).read_bytes())
            assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
        plain = await worker.fetch("GET", "/incoming/0.1/frontend/locales/de.mjs")
        assert re.fullmatch("[.][.]/[0-9a-f]{16}/locales/de[.]mjs", plain.headers["Content-Location"])
        for path in ("locales/tlh.mjs", "locales/de.mjs.map", "locales/../incoming.js", "locales/de.js"):
            assert (await worker.fetch("GET", f"/incoming/0.1/frontend/{path}")).code == 404


async def test_browsers_ask_whether_their_copy_is_still_good(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        first = await worker.fetch("GET", "/incoming/frontend/incoming.js")
        assert first.headers["Cache-Control"] == "no-cache"
        again = await worker.fetch(
            "GET", "/incoming/frontend/incoming.js", headers={"If-None-Match": first.headers["Etag"]}
        )
        assert (again.code, again.body) == (304, b"")
        other = await worker.fetch("GET", "/incoming/frontend/incoming.js", headers={"If-None-Match": '"old"'})
        assert other.code == 200
        head = await worker.fetch("HEAD", "/incoming/frontend/incoming.js")
        assert (head.code, head.body) == (200, b"")
        # Tornado's client asks for gzip and unpacks what it gets.
        assert head.headers["Content-Length"] == str(len((DIST / "incoming.js.gz").read_bytes()))


def test_the_entity_tag_changes_with_the_content(tmp_path: Path) -> None:
    tags, versions = set(), set()
    for content in ("a", "b"):
        for name in TYPES:
            (tmp_path / name).write_text(content)
        known = library(tmp_path)
        tags.add(known.files["incoming.js"].etag)
        versions.add(known.version)
    assert len(tags) == 2
    assert len(versions) == 2
    (tmp_path / "incoming.js").unlink()
    with pytest.raises(FileNotFoundError):
        library(tmp_path)


async def as_it_comes(port: int, path: str, headers: dict[str, str]) -> HTTPResponse:
    client, url = AsyncHTTPClient(), f"http://127.0.0.1:{port}{path}"
    return await client.fetch(url, headers=headers, decompress_response=False, raise_error=False)


async def test_the_library_comes_compressed_to_clients_that_can_read_it(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        tags = set()
        for accepted, coding, suffix in (
            ("gzip, deflate, br", "br", ".br"),
            ("gzip", "gzip", ".gz"),
            ("identity", None, ""),
        ):
            for name in ("incoming.js", "incoming.mjs"):
                url = f"/incoming/0.1/frontend/{name}"
                asked = {"Accept-Encoding": accepted}
                response = await as_it_comes(worker.port, url, asked)
                assert response.headers.get("Content-Encoding") == coding
                assert response.headers["Vary"] == "Accept-Encoding"
                assert response.body == (DIST / f"{name}{suffix}").read_bytes()
                asked["If-None-Match"] = response.headers["Etag"]
                assert (await as_it_comes(worker.port, url, asked)).code == 304
                tags.add(response.headers["Etag"])
        assert len(tags) == 6


async def test_a_url_with_the_version_is_cached_for_good_and_one_of_another_version_is_not(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        plain = await worker.fetch("GET", "/incoming/0.1/frontend/incoming.js")
        place = plain.headers["Content-Location"]
        assert re.fullmatch("[0-9a-f]{16}/incoming[.]js", place)
        for path, caching in ((place, "public, max-age=31536000, immutable"), (f"{'0' * 16}/incoming.js", "no-cache")):
            response = await worker.fetch("GET", f"/incoming/0.1/frontend/{path}")
            assert (response.code, response.body) == (200, plain.body)
            assert response.headers["Cache-Control"] == caching
        assert (await worker.fetch("GET", "/incoming/0.1/frontend/1.2/incoming.js")).code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/incoming",
        "/incoming/",
        "/incoming/0.2/frontend/incoming.js",
        "/incoming/0x1/frontend/incoming.js",
        "/incoming/frontend/",
        "/incoming/frontend/incoming.jsx",
        "/incoming/frontend/incoming_js",
        "/incoming/frontend/../handlers/backend.py",
        "/incoming/frontend/%2e%2e/index.js",
        "/incoming/frontend/dist/incoming.js",
        "/incoming/backend/new_upload/",
        "/incoming/backend/new_uploads",
        "/x/incoming/backend/new_upload",
        "/incoming/health/dead",
        "/incoming/frontend/upload/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_urls_get_404(method: str, path: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        response = await worker.fetch(method, path, b"" if method == "POST" else None)
        assert (response.code, response.body) == (404, b"no such URL")
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        response = await worker.fetch(method, path, b"" if method == "POST" else None, {"Accept": "application/json"})
        assert json.loads(response.body)["name"] == "not_found"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Server"] == "Incoming"


@pytest.mark.parametrize(
    ("path", "allowed"), [("/incoming/frontend/incoming.js", "GET, HEAD"), ("/incoming/health", "GET, HEAD")]
)
async def test_wrong_methods_get_405(path: str, allowed: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            response = await worker.fetch(method, path, b"")
            assert (response.code, response.headers["Allow"]) == (405, allowed)
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert response.body.decode() == f"{method} is not a method of this URL"


# --- health -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_healthy_server_is_ready(prefix: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        for path in ("/health", "/health/live"):
            response = await worker.fetch("GET", prefix + path)
            assert response.code == 200
            assert json.loads(response.body) == {"live": True, "ready": True, "problems": []}
            assert response.headers["Cache-Control"] == "no-store"


async def test_a_server_that_is_not_ready_names_every_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with one_worker(tmp_path, "--low-space", "1024TiB") as worker:

        async def broken() -> None:
            raise StorageFailed("disk I/O error")

        monkeypatch.setattr(worker.services.tickets, "check", broken)
        await worker.services.upload_service.drain()
        response = await worker.fetch("GET", "/incoming/health")
        assert response.code == 503
        answer = json.loads(response.body)
        assert (answer["live"], answer["ready"]) == (True, False)
        assert answer["problems"][0] == "the server is stopping"
        assert answer["problems"][1] == "database: disk I/O error"
        assert answer["problems"][2].startswith("storage: ")
        assert (await worker.fetch("GET", "/incoming/health/live")).code == 200


async def test_a_database_that_does_not_answer_makes_the_server_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.handlers.library.CHECK_SECONDS", 0.05)
    async with one_worker(tmp_path) as worker:
        monkeypatch.setattr(worker.services.tickets, "check", asyncio.Event().wait)
        response = await worker.fetch("GET", "/incoming/health")
        assert response.code == 503
        assert json.loads(response.body)["problems"] == ["database: no answer within 0.05 s"]


async def test_health_is_not_for_the_world(tmp_path: Path) -> None:
    async with one_worker(tmp_path, "--backend-networks", "10.0.0.0/8") as worker:
        assert (await worker.fetch("GET", "/incoming/health")).code == 403
        # Except whether there is anybody: probes come from addresses that nobody knows beforehand.
        assert (await worker.fetch("GET", "/incoming/health/live")).code == 200
    async with one_worker(tmp_path) as worker:
        proxied = {"X-Forwarded-For": "127.0.0.1"}
        assert (await worker.fetch("GET", "/incoming/health", headers=proxied)).code == 403
        assert (await worker.fetch("GET", "/incoming/health/live", headers=proxied)).code == 200


TOKEN = "correct-horse-battery-staple"


@pytest.mark.parametrize("path", ["/incoming/health", "/incoming/metrics"])
async def test_a_name_that_was_pointed_here_opens_neither_health_nor_metrics(path: str, tmp_path: Path) -> None:
    """A page of any site can have its name resolve to 127.0.0.1 and read what its browser gets there."""
    async with one_worker(tmp_path, "--backend-token", TOKEN) as worker:
        for name in ("evil.example.org", f"evil.example.org:{worker.port}", "127.0.0.1.evil.example.org"):
            assert (await worker.fetch("GET", path, headers={"Host": name})).code == 403
            given = {"Host": name, "Authorization": f"Bearer {TOKEN}"}
            assert (await worker.fetch("GET", path, headers=given)).code == 200
        for name in ("localhost", "127.0.0.1:4000", "[::1]:4000", "incoming"):
            assert (await worker.fetch("GET", path, headers={"Host": name})).code == 200


# --- what an unexpected failure looks like ----------------------------------------------------------------------------


async def test_a_defect_is_logged_and_reported_without_its_details(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("the secret detail")

    async with one_worker(tmp_path) as worker:
        monkeypatch.setattr(worker.services.tickets, "check", broken)
        response = await worker.fetch("GET", "/incoming/health", headers={"Accept": "application/json"})
    assert response.code == 500
    answer = json.loads(response.body)
    assert (answer["name"], answer["retry"]) == ("internal_error", True)
    assert b"secret detail" not in response.body
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == "GET /incoming/health failed"
    assert record.exc_info is not None


# --- the description for programs -------------------------------------------------------------------------------------


async def test_the_openapi_document_is_served_to_every_page(tmp_path: Path) -> None:
    async with one_worker(
        tmp_path, "--public-url", "https://example.org/up", "--backend-networks", "10.0.0.0/8"
    ) as worker:
        for path in ("/incoming/0.1/openapi.json", "/incoming/openapi.json"):
            response = await worker.fetch("GET", path, headers={"Origin": "https://viewer.example.org"})
            assert (response.code, response.headers["Access-Control-Allow-Origin"]) == (200, "*")
            assert response.headers["Content-Type"] == "application/json; charset=utf-8"
            assert json.loads(response.body)["servers"] == [{"url": "https://example.org/up/incoming/0.1"}]
        known = {"If-None-Match": response.headers["Etag"]}
        assert (await worker.fetch("GET", path, headers=known)).code == 304
        head = await worker.fetch("HEAD", path)
        assert (head.code, head.headers["Content-Length"]) == (200, response.headers["Content-Length"])
