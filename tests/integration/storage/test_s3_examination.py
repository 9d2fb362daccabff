"""What is said at the start, and by `incoming check store`, of an object store with which something is wrong."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from incoming.settings.object_stores import ObjectStore
from incoming.storage.s3.bucket import examination
from incoming.storage.s3.bucket.cors_check import CorsCheck
from incoming.storage.s3.bucket.examination import DAY, Examination
from incoming.storage.s3.bucket.findings import Kind
from incoming.storage.s3.requests.client import S3Client
from incoming.storage.s3.requests.http_sender import Answer, HttpSender
from tests.support.ceph_cluster import s3_client
from tests.support.scripted_s3 import ACCESS_KEY, BUSY, SECRET_KEY, Fault, ScriptedS3

PAUSED = 7 * DAY


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedS3]:
    monkeypatch.setattr("incoming.storage.s3.requests.retrying.FIRST_PAUSE", 0.01)
    with ScriptedS3() as scripted:
        scripted.new_bucket()
        yield scripted


async def lines(url: str, *, everything: bool = False, **changes: object) -> dict[str, list[str]]:
    """Return what is found, by its kind: each a fact and what to change."""
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    given = {"bucket": "bucket", "endpoint": url, "part_size": 4096, **keys, **changes}
    examination = Examination(ObjectStore(name="s3", **given), PAUSED)  # type: ignore[arg-type]
    found = await (examination.of_everything() if everything else examination.at_start())
    return {kind: [f"{one.fact}; {one.cure}" for one in found if one.kind == kind] for kind in Kind}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bucket": "no-such-bucket"}, "NoSuchBucket; make the bucket, or correct bucket"),
        ({"access_key": "other"}, "InvalidAccessKeyId; correct access_key, or the credentials in the environment"),
        ({"secret_key": "other"}, "SignatureDoesNotMatch; correct secret_key"),
    ],
)
async def test_wrong_settings_are_named(s3: ScriptedS3, changes: dict[str, str], words: str) -> None:
    [line] = (await lines(s3.url, **changes))[Kind.FAULT]
    code, cure = words.split("; ", 1)
    assert f"{code} (scripted: {code}); {cure}" in line
    assert s3.url in line


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(501, "NotImplemented"), "NotImplemented; use a store that has multipart uploads"),
        (Fault(405, "MethodNotAllowed"), "MethodNotAllowed; use a store that has multipart uploads"),
        (
            Fault(403, "AccessDenied"),
            "AccessDenied; allow these credentials to read, write and delete below the prefix",
        ),
        (Fault(301, "PermanentRedirect"), "PermanentRedirect; correct region or endpoint: the bucket is elsewhere"),
        (Fault(400, "AuthorizationHeaderMalformed"), "AuthorizationHeaderMalformed; correct region: the bucket is"),
        (Fault(400, "SomethingElse"), "SomethingElse; is endpoint the URL of an S3 interface?"),
    ],
)
async def test_a_store_that_refuses_uploads_is_refused(s3: ScriptedS3, fault: Fault, words: str) -> None:
    s3.fail("CreateMultipartUpload", fault)
    [line] = (await lines(s3.url))[Kind.FAULT]
    assert s3.pending == 0
    code, cure = words.split("; ", 1)
    assert f"{code} (scripted: {code}); {cure}" in line


class _Page(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")

    def log_message(self, *given: object) -> None: ...


async def test_an_endpoint_that_is_no_object_store_is_refused() -> None:
    with HTTPServer(("127.0.0.1", 0), _Page) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        [line] = (await lines(f"http://127.0.0.1:{web.server_port}"))[Kind.FAULT]
        web.shutdown()
    assert "is endpoint the URL of an S3 interface?" in line


async def test_a_store_that_does_not_answer_is_no_reason_to_refuse() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    found = await lines(f"http://127.0.0.1:{port}")
    assert found[Kind.FAULT] == []
    [line] = found[Kind.WARNING]
    assert line.endswith("start it, or correct endpoint; uploads wait until then")


@pytest.mark.parametrize("fault", [BUSY, Fault(500, "InternalError"), Fault(502, "")])
async def test_a_busy_store_is_no_reason_to_refuse(s3: ScriptedS3, fault: Fault) -> None:
    s3.fail("CreateMultipartUpload", fault)
    found = await lines(s3.url)
    assert s3.pending == 0
    assert found[Kind.FAULT] == []
    [line] = found[Kind.WARNING]
    assert line.endswith("; uploads wait until it is")


@pytest.mark.parametrize(("hours", "where"), [(3, "ahead of"), (-3, "behind")])
async def test_clocks_that_differ_are_named_and_do_not_matter(s3: ScriptedS3, hours: int, where: str) -> None:
    s3.clock_offset = timedelta(hours=hours)
    found = await lines(s3.url)
    assert found[Kind.FAULT] == []
    [line] = [line for line in found[Kind.WARNING] if "clock" in line]
    assert f"s {where} this machine's; set the clocks; until then requests are signed with the store's time" in line


@pytest.mark.parametrize(("days", "kind"), [(6, Kind.FAULT), (7, Kind.GOOD), (30, Kind.GOOD), (0, Kind.WARNING)])
async def test_a_lifecycle_rule_must_be_longer_than_a_pause(s3: ScriptedS3, days: int, kind: Kind) -> None:
    if days:
        abort = {"DaysAfterInitiation": days}
        rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": abort}
        s3_client(s3.url).put_bucket_lifecycle_configuration(Bucket="bucket", LifecycleConfiguration={"Rules": [rule]})
    [line] = [line for line in (await lines(s3.url))[kind] if "lifecycle rule" in line]
    words = {6: "paused_timeout is 7 days; make the rule longer", 0: "add one with more than 7 days"}
    assert words.get(days, f"after {days} days") in line


async def test_credentials_that_may_not_read_rules_are_no_fault(s3: ScriptedS3) -> None:
    s3.fail("GetBucketLifecycleConfiguration", Fault(403, "AccessDenied"))
    found = await lines(s3.url)
    assert (found[Kind.FAULT], found[Kind.WARNING]) == ([], [])
    assert any("lifecycle rules cannot be read" in line for line in found[Kind.NOTE])


async def test_a_store_that_loses_bytes_is_found_out(s3: ScriptedS3) -> None:
    assert (await lines(s3.url, everything=True))[Kind.FAULT] == []
    s3.knows_conditions = False
    found = await lines(s3.url, everything=True)
    assert any("If-None-Match is ignored" in line for line in found[Kind.NOTE])
    s3.fail("HeadObject", Fault(404, "NoSuchKey"))
    [line] = (await lines(s3.url, everything=True))[Kind.FAULT]
    assert line == "a completed object is another one; use another store: files would not be safe in this one"
    assert s3.objects() == {}
    assert s3.buckets["bucket"].uploads == {}, "nothing is left of the probes"


@pytest.mark.parametrize("everything", [False, True])
async def test_a_store_that_lists_parts_whose_connection_was_cut_is_not_for_browsers(
    s3: ScriptedS3, everything: bool
) -> None:
    """The server counts what a store lists, and such a part has other bytes than the file."""
    found = await lines(s3.url, everything=everything, direct=True)
    assert found[Kind.FAULT] == []
    assert any("a part whose connection was cut is not listed" in line for line in found[Kind.GOOD])
    s3.keeps_cut_parts = True
    [line] = (await lines(s3.url, everything=everything, direct=True))[Kind.FAULT]
    assert line.startswith("a part whose connection was cut is listed as if it were whole; set direct to false: ")
    assert (await lines(s3.url, everything=everything))[Kind.FAULT] == [], "through the server it has a checksum"
    assert s3.buckets["bucket"].uploads == {}


async def test_a_store_that_hangs_delays_the_start_no_longer_than_one_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(examination, "ANSWER_TIMEOUT", 0.2)
    asked: list[bytes] = []
    ended = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.read()  # until the other end closes
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        keys = {"access_key": "key", "secret_key": "secret"}
        store = ObjectStore(name="s3", bucket="bucket", endpoint=endpoint, **keys)
        [finding] = await Examination(store, 7 * 86400.0).at_start()
        await ended.wait()
    assert asked[0].startswith(b"POST /bucket/")
    assert (finding.kind, finding.fact) == (
        Kind.WARNING,
        f"bucket 'bucket' at {endpoint} does not answer: no answer within 0.2 s",
    )


PAGE, OTHER = "https://app.example.org", "https://other.example.org"


async def cors(s3: ScriptedS3, *origins: str, **changes: object) -> list[str]:
    """Return what is found of pages of these origins, each with what to change."""
    found = await Examination(_store(s3, **changes), PAUSED).of_everything(origins)
    assert s3.buckets["bucket"].uploads == {}, "what was tried is removed"
    return [f"{one.kind}: {one.fact}; {one.cure}" for one in found if "pages of" in one.fact or "origin" in one.fact]


async def test_pages_of_an_allowed_origin_may_put_parts(s3: ScriptedS3) -> None:
    s3.buckets["bucket"].origins = (PAGE,)
    [line] = await cors(s3, PAGE)
    assert line == f"good: pages of {PAGE} may PUT parts to this bucket (ETag is not exposed, which is not needed); "
    assert len(s3.seen("Preflight")) == 1


async def test_an_origin_that_the_cors_rule_lacks_is_named_with_the_rule(s3: ScriptedS3) -> None:
    s3.buckets["bucket"].origins = (PAGE,)
    good, line = await cors(s3, PAGE, OTHER)
    assert good.startswith("good: ")
    assert line == (
        f"warning: pages of {OTHER} may not PUT to this bucket: its answer to their preflight is 403 without "
        f"Access-Control-Allow-Origin; add a CORS rule to the bucket with AllowedOrigin {OTHER}, AllowedMethod PUT and "
        "AllowedHeader *; until then their files go through this server"
    )


@pytest.mark.parametrize(
    ("method", "headers", "words"),
    [
        ("OPTIONS", {"Access-Control-Allow-Methods": "GET, POST"}, "allows GET, POST; add AllowedMethod PUT"),
        ("PUT", {"Access-Control-Allow-Origin": ""}, "may not see the answer to a PUT: it is 200 without"),
        ("PUT", {"Access-Control-Expose-Headers": "x, ETag"}, "may PUT parts to this bucket (ETag is exposed)"),
    ],
)
async def test_what_a_browser_would_miss_in_an_answer_is_named(
    s3: ScriptedS3, method: str, headers: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.buckets["bucket"].origins = (PAGE,)
    request, changed = HttpSender.request, []

    async def answer(
        self: HttpSender, verb: str, target: str, sent: dict[str, str], *more: object, **how: object
    ) -> Answer:
        true = await request(self, verb, target, sent, *more, **how)  # type: ignore[arg-type]
        if verb == method and "Origin" in sent:
            changed.append(verb)
            for name, value in headers.items():
                true.headers[name] = value
        return true

    monkeypatch.setattr(HttpSender, "request", answer)
    [line] = await cors(s3, PAGE)
    assert changed == [method]
    assert words in line


async def test_a_signed_part_that_is_refused_points_to_the_public_endpoint(s3: ScriptedS3) -> None:
    s3.buckets["bucket"].origins = (PAGE,)
    [line] = await cors(s3, PAGE, public_endpoint=s3.url.replace("127.0.0.1", "localhost"))
    assert "good" in line, "another name of the same store"
    s3.fail("UploadPart", Fault(403, "SignatureDoesNotMatch"), times=20)
    found = await CorsCheck(store := _store(s3), S3Client(store), "incoming/probe/x").run([PAGE])
    assert "a part with a signed URL is answered 403" in found[0].fact
    assert "public_endpoint" in found[0].cure


async def test_a_public_endpoint_that_does_not_answer_is_named(s3: ScriptedS3) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    store = _store(s3, public_endpoint=f"http://127.0.0.1:{port}")
    [finding] = await CorsCheck(store, S3Client(store), "incoming/probe/x").run([PAGE, OTHER])
    assert (finding.kind, f"127.0.0.1:{port}" in finding.fact) == (Kind.WARNING, True)
    assert finding.cure.startswith("correct public_endpoint")


async def test_without_an_origin_the_check_says_how_to_try_the_cors_rule(s3: ScriptedS3) -> None:
    [line] = await cors(s3, direct=True)
    assert line.startswith(
        "note: the CORS rule was not tried: name a page's origin with --origin https://app.example.org"
    )
    assert await cors(s3) == []


def _store(s3: ScriptedS3, **changes: object) -> ObjectStore:
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    return ObjectStore(name="s3", bucket="bucket", endpoint=s3.url, **keys, **changes)  # type: ignore[arg-type]
