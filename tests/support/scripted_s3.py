"""An S3-compatible store in memory that checks what a strict one checks, and misbehaves on command.

It knows multipart uploads, single objects, ranges, lists, CORS and lifecycle rules. `fail` makes the next requests of
an operation (its name in S3's documentation) fail in ways that no real store does when it is asked to.
"""

import asyncio
import threading
import time
from collections import defaultdict
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler, stream_request_body

from tests.support.ports import free_port
from tests.support.s3_bucket import Bucket, Reply, Request, error, operation_of, perform
from tests.support.s3_signature import Refused, SignatureCheck
from tests.support.waiting import wait_until

ACCESS_KEY, SECRET_KEY, REGION = "testkey", "testsecret", "us-east-1"


@dataclass(frozen=True)
class Fault:
    """What happens to a request. The reply is that of `status` and `code`; with neither, the true one."""

    status: int = 0
    code: str = ""
    """With status 200 the body of the answer holds an error, as Complete's may."""
    done: bool = False
    """Whether the request is carried out although it fails."""
    cut: bool = False
    """Close the connection instead of a reply."""
    after: int | None = None
    """Close the connection after so many bytes of the body."""
    delay: float = 0.0
    """Seconds before the reply."""
    stale: bool = False
    """Reply with what was there when the fault was set."""


BUSY = Fault(503, "SlowDown")
ERROR_IN_200 = Fault(200, "InternalError")
LOST = Fault(done=True, cut=True)
"""Carried out, but the answer never comes."""
GONE_AFTER_SUCCESS = Fault(404, "NoSuchUpload", done=True)
STALE = Fault(stale=True)


@dataclass(frozen=True)
class Seen:
    """A request as it came; `fault` is the one that it met."""

    operation: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    length: int
    fault: Fault | None
    status: int


class ScriptedS3:
    """Listens on 127.0.0.1 from `start()` to `stop()`, on a thread of its own; a later `start()` uses the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.buckets: dict[str, Bucket] = {}
        self.requests: list[Seen] = []
        self.clock_offset = timedelta()
        """By how much the store's clock is ahead."""
        self.min_part = 4096
        self.knows_conditions = True
        """Whether If-None-Match is heeded; many stores ignore it."""
        self.keeps_cut_parts = False
        """Whether a part whose connection is cut is stored with zeros in the place of the rest, as versitygw does."""
        self.lets_pages_read_errors = False
        """Whether errors have the headers of CORS, without which a page only sees that there is no answer."""
        self.check = SignatureCheck(ACCESS_KEY, SECRET_KEY, self.now)
        self._faults: dict[str, list[tuple[Fault, dict[str, Bucket]]]] = defaultdict(list)
        self._down: list[tuple[str, Fault, float]] = []
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def now(self) -> datetime:
        return datetime.now(UTC) + self.clock_offset

    def new_bucket(self, name: str = "bucket", *, origins: tuple[str, ...] = ()) -> str:
        self.buckets[name] = Bucket(origins=origins)
        return name

    def fail(self, operation: str, fault: Fault, times: int = 1) -> None:
        """Let the next `times` requests of an operation meet this fault."""
        with self._lock:
            before = deepcopy(self.buckets) if fault.stale else {}
            self._faults[operation] += [(fault, before)] * times

    def fail_for(self, seconds: float, operation: str, fault: Fault = BUSY) -> None:
        """Let all requests of an operation, `*` for every one, meet this fault for some time."""
        with self._lock:
            self._down.append((operation, fault, time.monotonic() + seconds))

    def heal(self) -> None:
        """Forget the faults that are left."""
        with self._lock:
            self._faults.clear()
            self._down.clear()

    @property
    def pending(self) -> int:
        """How many faults that were set have not been met."""
        return sum(map(len, self._faults.values()))

    def seen(self, operation: str) -> list[Seen]:
        """Return the requests of an operation."""
        return [request for request in list(self.requests) if request.operation == operation]

    def wait_for(self, operation: str, count: int = 1) -> list[Seen]:
        """Wait until `count` requests of an operation came and return them."""

        def came() -> list[Seen]:
            return found if len(found := self.seen(operation)) >= count else []

        return wait_until(came, f"{count} requests {operation}")

    def objects(self, bucket: str = "bucket") -> dict[str, bytes]:
        return {key: stored.content for key, stored in self.buckets[bucket].objects.items()}

    def start(self) -> Self:
        assert self._thread is None, "already started"
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), name="scripted-s3", daemon=True)
        self._thread.start()
        assert ready.wait(20), "the scripted S3 does not start"
        return self

    def stop(self) -> None:
        """Close all connections; refuse new ones."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(20)
            self._thread = self._loop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        application = Application([(r"/.*", _Handler, {"store": self})], log_function=lambda handler: None)
        server = HTTPServer(application, max_body_size=2**40, max_buffer_size=2**26)
        server.listen(self.port, "127.0.0.1")
        ready.set()
        await self._stopping.wait()
        server.stop()
        await server.close_all_connections()

    def take_fault(self, operation: str) -> tuple[Fault | None, dict[str, Bucket]]:
        """Return what the next request of an operation meets, and the buckets that it sees."""
        with self._lock:
            if self._faults[operation]:
                fault, before = self._faults[operation].pop(0)
                return fault, before if fault.stale else self.buckets
            now = time.monotonic()
            standing = (fault for name, fault, end in self._down if name in (operation, "*") and now < end)
            return next(standing, None), self.buckets


@stream_request_body
class _Handler(RequestHandler):
    SUPPORTED_METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")

    def initialize(self, store: ScriptedS3) -> None:
        self._store = store
        self._body = bytearray()

    def prepare(self) -> None:
        path = self.request.path.lstrip("/")
        bucket, _, key = path.partition("/")
        query = {name: values[-1].decode() for name, values in self.request.query_arguments.items()}
        for name in self.request.query.split("&"):  # Tornado drops those without a value, such as ?uploads
            query.setdefault(name.partition("=")[0], "")
        query.pop("", None)
        self._request = Request(str(self.request.method), bucket, unquote(key), query, self.request.headers)
        self._operation = operation_of(self._request)
        self._fault, self._buckets = self._store.take_fault(self._operation)

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk
        if self._fault and self._fault.after is not None and len(self._body) >= self._fault.after:
            self._note(0)
            self._drop()

    def on_connection_close(self) -> None:
        if self._store.keeps_cut_parts and self._operation == "UploadPart":
            self._body += bytes(int(self.request.headers["Content-Length"]) - len(self._body))
            self._perform()

    async def _answer(self) -> None:
        fault = self._fault
        if fault and fault.delay:
            await asyncio.sleep(fault.delay)
        reply = None
        if fault is None or fault.done or not (fault.status or fault.cut):
            reply = self._perform()
        if fault and fault.status:
            reply = error(fault.status, fault.code)
            if self._store.lets_pages_read_errors:
                self._let_page_read(reply)
        self._note(reply.status if reply else 0)
        if reply is None or (fault and fault.cut):
            self._drop()
            return
        await self._send(reply)

    get = head = put = post = delete = options = _answer

    def _perform(self) -> Reply:
        request = self._request
        bucket = self._buckets.get(request.bucket)
        if request.method == "OPTIONS":
            return bucket.preflight(request) if bucket else error(403, "AccessForbidden")
        try:
            payload = self._store.check.check(request.method, str(self.request.uri), request.headers)
            body = bytes(self._body)
            reply = perform(self._store.buckets, self._buckets, self._operation, request, body, payload,
                            self._store.min_part, self._store.knows_conditions)  # fmt: skip
        except Refused as refused:
            return error(refused.status, refused.code)
        self._let_page_read(reply)
        return reply

    def _let_page_read(self, reply: Reply) -> None:
        """Add the header of CORS for the page that has sent the request, if the bucket's rule names its origin."""
        bucket = self._buckets.get(self._request.bucket)
        if bucket and (origin := self._request.headers.get("Origin")) in bucket.origins:
            reply.headers["Access-Control-Allow-Origin"] = origin

    async def _send(self, reply: Reply) -> None:
        self.set_status(reply.status)
        self.set_header("Date", self._store.now().strftime("%a, %d %b %Y %H:%M:%S GMT"))
        for name, value in reply.headers.items():
            self.set_header(name, value)
        if reply.body and self.request.method != "HEAD":
            self.write(reply.body)
        with suppress(StreamClosedError):
            await self.finish()

    def _note(self, status: int) -> None:
        request = self._request
        headers = {name.lower(): value for name, value in request.headers.items()}
        place = (self._operation, request.bucket, request.key, request.query)
        self._store.requests.append(Seen(*place, headers, len(self._body), self._fault, status))

    def _drop(self) -> None:
        if isinstance(connection := self.request.connection, HTTP1Connection):
            connection.stream.close()
