"""What the handlers use: the services of one worker, by type.

worker.py creates one Services for all handlers; a test creates one with what it needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from incoming import __version__
from incoming.core.ticket import Ticket
from incoming.handlers.connection_limiter import ConnectionLimiter
from incoming.handlers.open_requests import OpenRequests
from incoming.handlers.upload.upload_connections import UploadConnectionLimiter
from incoming.monitoring.connections import Connections
from incoming.monitoring.metrics import WorkerCounters
from incoming.monitoring.worker_reports import WorkerReporter
from incoming.settings.settings import Settings
from incoming.uploads.parts import UploadParts
from incoming.uploads.writes.flow_control import MemoryBudget
from incoming.wire.messages import Limits

if TYPE_CHECKING:
    from incoming.callbacks.dispatcher import CallbackDispatcher
    from incoming.maintenance.free_space import FreeSpace
    from incoming.maintenance.janitor import Janitor
    from incoming.storage.byte_store import ByteStore
    from incoming.storage.open import Stores
    from incoming.storage.operator_store import OperatorStore
    from incoming.storage.ticket_store import TicketStore
    from incoming.uploads.ticket_creation import TicketCreation
    from incoming.uploads.upload_service import UploadService


@dataclass(kw_only=True)
class Services:
    """One worker's parts; `monotonic` gives seconds of a clock that never jumps."""

    settings: Settings
    stores: Stores
    upload_service: UploadService
    callbacks: CallbackDispatcher
    ticket_creation: TicketCreation
    free_space: FreeSpace
    janitor: Janitor
    counters: WorkerCounters
    connections: Connections
    worker_reporter: WorkerReporter
    memory_budget: MemoryBudget
    connection_limiter: ConnectionLimiter
    monotonic: Callable[[], float] = time.monotonic
    upload_connections: UploadConnectionLimiter = field(default_factory=UploadConnectionLimiter)
    requests: OpenRequests = field(default_factory=OpenRequests)

    @property
    def tickets(self) -> TicketStore:
        return self.stores.tickets

    @property
    def store(self) -> ByteStore:
        return self.stores.files

    @property
    def operators(self) -> OperatorStore:
        return self.stores.operators

    @property
    def parts(self) -> UploadParts:
        """The uploads that are sent in parts."""
        return UploadParts(self.upload_service, self.store, self.settings, self.tickets.clock.now)

    def limits(self, ticket: Ticket) -> Limits:
        """Return the limits for clients of this ticket."""
        return Limits(
            chunk_min=self.settings.chunk_min,
            chunk_max=self.settings.chunk_max,
            window=self.settings.window,
            connections=self.settings.connections_per_upload,
            ping_interval=self.settings.ping_interval,
            max_rate=ticket.options.max_rate,
            version=__version__,
            hosts=self.settings.frontend_hosts,
        )
