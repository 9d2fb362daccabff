"""One worker process: wire stores, services and handlers, serve until SIGTERM, then drain and close.

Workers share nothing but the listening sockets and the stores. Does not know how many there are.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Sequence

from tornado.httpserver import HTTPServer
from tornado.httputil import ParseBodyConfig, ParseMultipartConfig, set_parse_body_config
from tornado.ioloop import IOLoop

from incoming.callbacks.dispatcher import CallbackDispatcher
from incoming.core.errors import TooBusy, UploadError
from incoming.handlers.backend.parameters import MAX_BODY
from incoming.handlers.connection_limiter import ConnectionLimiter
from incoming.handlers.library import library
from incoming.handlers.routes import application
from incoming.handlers.services import Services
from incoming.maintenance.free_space import FreeSpace
from incoming.maintenance.janitor import Janitor
from incoming.maintenance.recovery import recover
from incoming.monitoring.connections import Connections
from incoming.monitoring.metrics import WorkerCounters
from incoming.monitoring.worker_reports import WorkerReporter
from incoming.server.descriptors import DescriptorBudget
from incoming.server.gc_tuning import collect_rarely
from incoming.server.http_server import GuardedServer
from incoming.server.sd_notify import Notifier
from incoming.server.signals import log_hangup
from incoming.settings.settings import Settings
from incoming.storage.byte_store import CountingStore, spools_of, stores_in
from incoming.storage.open import UnusableStorage, open_stores
from incoming.storage.operator_store import EventCountingStore
from incoming.uploads.ticket_creation import TicketCreation
from incoming.uploads.upload_service import UploadService
from incoming.uploads.writes.flow_control import MemoryBudget
from incoming.uploads.writes.receive_buffer import LARGEST_BUFFER

log = logging.getLogger(__name__)

KEEP_ALIVE = 75.0
"""Seconds for which an idle HTTP connection is kept, and within which a header must arrive; longer than nginx keeps an
upstream connection (60).
"""

BODY_SECONDS = 30.0
"""Seconds for a body of at most MAX_BODY. Uploads have no such limit, but must make progress."""

SIGNAL_WINDOW = 1.0
"""Seconds within which another SIGTERM counts as the same one."""


UNUSABLE = 2
"""Exit code for storage that cannot be used as configured: a restart does not help."""


class Worker:
    """One worker. Call `serve` or `recover` once."""

    def __init__(self, settings: Settings, notifier: Notifier | None = None) -> None:
        """Notify `notifier` when `serve` accepts connections, of its status, and when it stops."""
        self._settings = settings
        self._notifier = notifier or Notifier()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reported_at = 0.0
        self._background: list[asyncio.Task[None]] = []

    async def recover(self) -> int:
        """Run the recovery before several workers serve; return the exit code."""
        try:
            services = await open_services(self._settings)
            try:
                await recover(services.tickets, services.store, services.upload_service)
                await services.upload_service.drain()
            finally:
                await close_services(services)
        except UnusableStorage as error:
            log.error("the server cannot start: %s", error)
            return UNUSABLE
        except (UploadError, OSError) as error:
            log.error("the server cannot start: %s", error)
            return 1
        return 0

    async def serve(self, sockets: Sequence[socket.socket], lifeline: int | None = None) -> int:
        """Serve until SIGTERM; return the exit code.

        One worker of several gets `lifeline`, a descriptor that becomes readable when the supervisor ends. A worker
        without one is the only one and recovers first.
        """
        loop = asyncio.get_running_loop()
        IOLoop.current()  # imports what the first connection needs: it may come when no descriptors are left
        loop.add_signal_handler(signal.SIGTERM, self._on_shutdown_signal)
        if lifeline is None:
            loop.add_signal_handler(signal.SIGINT, self._on_shutdown_signal)
            loop.add_signal_handler(signal.SIGHUP, log_hangup)
        else:
            loop.add_reader(lifeline, self._orphaned, lifeline)
        try:
            services = await open_services(self._settings)
            try:
                if lifeline is None:
                    await recover(services.tickets, services.store, services.upload_service)
                server = http_server(services)
                collect_rarely()
                server.shares_sockets = lifeline is not None
                server.add_sockets(sockets)
                self._notifier.ready()
                beating = loop.create_task(self._beat(services))
                try:
                    code = await self._work(services)
                    self._notifier.stopping()
                    await self._drain(services, server)
                finally:
                    beating.cancel()
            finally:
                await close_services(services)
        except UnusableStorage as error:
            log.error("the server cannot start: %s", error)
            return UNUSABLE
        except (UploadError, OSError) as error:
            log.error("the server cannot continue: %s", error)
            return 1
        finally:
            # The loop is about to remove its handlers; another signal must not turn a clean exit into a failure.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
        return code

    async def _beat(self, services: Services) -> None:
        """Notify until cancelled that the event loop runs."""
        while self._notifier.interval is not None:
            draining = "draining: " if services.upload_service.draining else ""
            self._notifier.alive(f"{draining}{len(services.upload_service.uploads())} uploads are connected")
            await asyncio.sleep(self._notifier.interval)

    async def _work(self, services: Services) -> int:
        """Run until shutdown (return 0) or until a background service exits unexpectedly (return 1)."""
        loop = asyncio.get_running_loop()
        stopping = loop.create_task(self._stop.wait())
        running = (services.callbacks.run(), services.janitor.run(), services.worker_reporter.run())
        services_at_work = [loop.create_task(service) for service in running]
        await asyncio.wait([stopping, *services_at_work], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self._background = services_at_work
        for task in services_at_work:
            if task.done():
                log.critical(
                    "a background service of this worker has ended; stopping the worker", exc_info=task.exception()
                )
                return 1
        return 0

    async def _drain(self, services: Services, server: HTTPServer) -> None:
        """Refuse new work and wait for pending work, for at most drain_timeout."""
        log.info("draining: %d uploads are connected", len(services.upload_service.uploads()))
        server.stop()
        # Further requests must come over new connections, which another process accepts.
        server.conn_params.no_keep_alive = True
        loop = asyncio.get_running_loop()
        ending = loop.create_task(self._let_end(services))
        hurry = loop.create_task(self._hurry.wait())
        await asyncio.wait([ending, hurry], timeout=self._settings.drain_timeout, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            log.warning("drain_timeout exceeded with pending work; acknowledged bytes are safe")
        for task in (ending, hurry, *self._background):
            task.cancel()
        await asyncio.gather(ending, hurry, *self._background, return_exceptions=True)
        await server.close_all_connections()

    async def _let_end(self, services: Services) -> None:
        patience = max(0.0, self._settings.drain_timeout - 1)
        await asyncio.gather(services.upload_service.drain(), services.callbacks.stop(patience))
        while services.upload_service.uploads() or services.requests:
            await services.upload_service.wait_until_left()
            await services.requests.wait_for_none()
        # Requests under way have stored more since the uploads were drained.
        await services.upload_service.wait_until_settled()

    def _on_shutdown_signal(self) -> None:
        # systemd and `timeout` signal the whole group, and the supervisor passes it on: that is once, not twice.
        now = asyncio.get_running_loop().time()
        if not self._stop.is_set():
            self._reported_at = now
            self._stop.set()
        elif now - self._reported_at >= SIGNAL_WINDOW:
            self._hurry.set()

    def _orphaned(self, lifeline: int) -> None:
        asyncio.get_running_loop().remove_reader(lifeline)
        log.warning("the supervisor has exited; stopping this worker")
        self._stop.set()


async def open_services(settings: Settings) -> Services:
    """Return one worker's services. Raises OSError or StorageFailed if the storage cannot be used."""
    stores = await open_stores(settings)
    tickets, store = stores.tickets, stores.files
    counters = WorkerCounters()
    counters.sources = [one.counts for one in stores_in(store) if isinstance(one, CountingStore)]
    if isinstance(tickets, EventCountingStore):
        counters.sources.append(tickets.events)
    callbacks = CallbackDispatcher(tickets, store, settings, counters=counters)
    upload_service = UploadService(tickets, store, settings, callbacks.record_arrival)
    free_space = FreeSpace(store, settings.low_space)
    connections = Connections(counters)
    return Services(
        settings=settings,
        stores=stores,
        upload_service=upload_service,
        ticket_creation=TicketCreation(tickets, lambda: upload_service.draining, free_space.require, callbacks.try_out),
        callbacks=callbacks,
        free_space=free_space,
        janitor=Janitor(tickets, store, upload_service, settings),
        counters=counters,
        connections=connections,
        worker_reporter=WorkerReporter(stores.operators, counters, connections, stores.instance, spools_of(store)),
        memory_budget=MemoryBudget(settings.memory),
        connection_limiter=ConnectionLimiter.of(settings),
    )


async def close_services(services: Services) -> None:
    await services.worker_reporter.close()
    await services.stores.close()


def http_server(services: Services) -> GuardedServer:
    """Return the server with its limits, not yet listening. Raises FileNotFoundError if the library is missing."""
    # Only backend functions accept forms, and they parse them themselves.
    set_parse_body_config(ParseBodyConfig(multipart=ParseMultipartConfig(enabled=False)))
    server = GuardedServer(
        application(services, library()),
        chunk_size=LARGEST_BUFFER,
        # Bodies and messages are received in parts of at most one read.
        max_buffer_size=2 * LARGEST_BUFFER,
        max_body_size=MAX_BODY,
        body_timeout=BODY_SECONDS,
        max_header_size=services.settings.max_header,
        idle_connection_timeout=KEEP_ALIVE,
        decompress_request=False,
        xheaders=False,
    )
    server.write_timeout = services.settings.dead_after
    budget = DescriptorBudget.of_process(services.stores.descriptors)
    services.connection_limiter.limit_descriptors(budget.clients, budget.essential)
    server.limiter = services.connection_limiter
    server.most_lingering = budget.refused
    server.refused = lambda: services.counters.errors.update([TooBusy("").name])
    return server
