"""Uploads that retry by themselves, in a thread of their own, while a test injects faults."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from incoming.core.extents import Extents
from tests.support.upload_client import WAYS, UploadClient
from tests.support.waiting import wait_until
from tests.system.faults.consistency import Witness, assert_consistent, sha256

KIB, MIB = 1024, 1024 * 1024


def new_ticket(port: int, callback_url: str, *, keep: bool = False, patience: float = 60.0, **more: str) -> str:
    """Return a ticket as soon as the server issues one: it may be stopping or starting."""

    def ask() -> str:
        form = {"signalFinishURL": callback_url, "removeFileWhenFinished": "no" if keep else "yes", **more}
        try:
            answer = requests.post(f"http://127.0.0.1:{port}/incoming/0.1/backend/new_upload", form, timeout=20)
        except requests.RequestException:
            return ""
        # A proxy whose instance has just died answers itself.
        assert answer.status_code in (200, 502, 503, 504), answer.text
        return answer.text if answer.status_code == 200 else ""

    return wait_until(ask, "a ticket", patience)


class Load:
    """Clients of all kinds, which connect to `port`; the server calls `app`."""

    def __init__(self, port: int, app: Witness, seed: int = 0) -> None:
        self.port = port
        self.app = app
        self.clients: list[UploadClient] = []
        self.random = random.Random(seed)
        self._futures: list[Future[str]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def add(
        self,
        size: int,
        way: str | None = None,
        *,
        server_port: int | None = None,
        keep: bool = False,
        before: Callable[[], None] = lambda: None,
        **how: object,
    ) -> UploadClient:
        """Start another upload; `server_port` is the one for tickets if not `port`.

        `before` is called when there is a ticket and nothing has been sent.
        """
        ticket_id = new_ticket(server_port or self.port, self.app.url, keep=keep)
        content = self.random.randbytes(size)
        way = way or WAYS[len(self.clients) % len(WAYS)]
        client = UploadClient(self.port, ticket_id, content, way, **how)  # type: ignore[arg-type]
        self.clients.append(client)
        before()
        self._futures.append(asyncio.run_coroutine_threadsafe(client.run(), self._loop))
        return client

    def add_each(self, count: int, size: int, **how: object) -> list[UploadClient]:
        return [self.add(size, **how) for _ in range(count)]  # type: ignore[arg-type]

    def retire(self) -> list[UploadClient]:
        """Check and remove the uploads that are finished, so that a load may run for long."""
        self._raise_what_failed()
        pairs = list(zip(self.clients, self._futures, strict=True))
        done = [client for client, future in pairs if future.done()]
        for client in done:
            assert client.state == "finished", f"{client.ticket_id}: {client.state}"
            heard = self.app.forget(client.ticket_id)
            right = sha256(client.content)
            assert heard, f"{client.ticket_id} is finished, and its application was never called"
            assert not any(one.cancelled for one in heard)
            assert heard[0].sha256 == right, f"{client.ticket_id}: the file handed over is not what was sent"
            kept = Path(heard[0].path)
            if kept.exists():
                assert sha256(kept.read_bytes()) == right, f"{client.ticket_id}: the file has changed since"
                kept.unlink()
        left = [(client, future) for client, future in pairs if client not in done]
        self.clients, self._futures = [client for client, _ in left], [future for _, future in left]
        return done

    # --- what goes on -------------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        self._raise_what_failed()
        return sum(not future.done() for future in self._futures)

    @property
    def acked_bytes(self) -> int:
        return sum(client.acked.size for client in self.clients)

    def flying(self) -> list[UploadClient]:
        """Return the clients with chunks in flight."""
        return [client for client in self.clients if client.under_way]

    def wait_for_flight(self, timeout: float = 60.0) -> bool:
        """Wait until chunks are in flight; return False if no client sends any more."""
        wait_until(lambda: self.flying() or not self.running, "chunks under way", timeout)
        return bool(self.running)

    def wait_for_bytes(self, more: int, timeout: float = 60.0) -> None:
        """Wait until this many further bytes are acknowledged, or no client sends any more."""
        target = self.acked_bytes + more
        wait_until(lambda: self.acked_bytes >= target or not self.running, f"{more} bytes more", timeout)

    def _raise_what_failed(self) -> None:
        for future in self._futures:
            if future.done() and not future.cancelled():
                future.result()

    # --- what must be true --------------------------------------------------------------------------------------------

    @property
    def sources(self) -> dict[str, bytes]:
        return {client.ticket_id: client.content for client in self.clients}

    @property
    def acks(self) -> dict[str, Extents]:
        return {client.ticket_id: client.acked for client in self.clients}

    def check(self, storage_dir: Path, *, ended: bool = False) -> None:
        """Check the directory, which no server may use meanwhile."""
        self._raise_what_failed()
        acks, callbacks = self.acks, self.app.snapshot()
        broken = [what for client in self.clients for what in client.broken]
        assert not broken, "\n".join(broken)
        assert_consistent(storage_dir, acks, callbacks, self.sources, ended=ended)

    def finish(self, storage_dir: Path, timeout: float = 120.0) -> None:
        """Wait until every upload has finished, and check everything."""
        deadline = time.monotonic() + timeout
        for client, future in zip(self.clients, self._futures, strict=True):
            try:
                state = future.result(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise AssertionError(
                    f"{client.way} upload {client.ticket_id} does not end: {client.state}, {client.acked} of "
                    f"{len(client.content)}, errors {dict(client.errors)}"
                ) from None
            assert state == "finished", f"{client.ticket_id}: {state}"
        self.check(storage_dir, ended=True)
