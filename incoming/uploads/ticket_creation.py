"""New tickets: what must be true before one is issued, and what it begins with.

Decides the order of the checks: the cheap ones first, and the trial call to the app last, so that no ticket is issued
whose callback cannot work. How each check is made is passed in.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

from incoming.core.errors import ServerShutdown
from incoming.core.ticket import Identity, Ticket, TicketOptions
from incoming.storage.ticket_store import TicketStore

UNKNOWN = Identity()


class TicketCreation:
    """Issue the tickets of one worker.

    `is_draining` returns whether this worker is shutting down, `admit` raises while there is too little room for
    another upload, `try_out` makes a trial call to the app and raises unless it succeeds.
    """

    def __init__(
        self,
        tickets: TicketStore,
        is_draining: Callable[[], bool],
        admit: Callable[[], Awaitable[None]],
        try_out: Callable[[TicketOptions], Awaitable[None]],
    ) -> None:
        self._tickets = tickets
        self._is_draining = is_draining
        self._admit = admit
        self._try_out = try_out

    async def create(
        self, options: TicketOptions, identity: Identity = UNKNOWN, *, test_callback: bool = False
    ) -> Ticket:
        """Issue one ticket; see `create_all`."""
        [ticket] = await self.create_all(options, identity, test_callback=test_callback)
        return ticket

    async def create_all(
        self, options: TicketOptions, identity: Identity = UNKNOWN, *, count: int = 1, test_callback: bool = False
    ) -> list[Ticket]:
        """Issue `count` tickets, or none: each a random UUID with 122 unpredictable bits (RFC 9562 section 5.4).

        `identity` is what the app knows of the file. Raises FileTooLarge if the storage can never take it.

        With `test_callback` only if the app accepts one trial call. Raises ServerShutdown, StorageFull, TooBusy,
        CallbackTestFailed, or what the stores raise.
        """
        if self._is_draining():
            raise ServerShutdown("the server is restarting; ask again")
        await self._admit()
        if test_callback:
            await self._try_out(options)
        now = self._tickets.clock.now()
        tickets = [
            Ticket(str(uuid.uuid4()), options, created_at=now, active_at=now, state_since=now, identity=identity)
            for _ in range(count)
        ]
        await self._tickets.create(*tickets)
        return tickets
