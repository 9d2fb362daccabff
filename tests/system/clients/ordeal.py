"""What every client has to go through with one upload: its connection is cut, then the server restarts."""

import requests

from tests.support.fault_proxy import FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp

MIB = 1 << 20
RATE = 24 * MIB
"""Bytes a second: the upload is still on its way when the server goes."""

CRAWL = MIB
"""The rate while the server waits for what is on its way, so that this cannot be all the rest."""

CUT_AFTER = 11 * MIB + 1
"""Bytes over one connection: in the middle of a piece, whatever its size."""

RESTART_AT = 20 * MIB


class Ordeal:
    """An upload's faults. `url` is where the client sends `file` to: a proxy in front of the server."""

    def __init__(self, server: IncomingServer, app: UploadApp, proxy: FaultProxy, file: KnownFile) -> None:
        self.ticket = app.new_ticket()
        self.file = file
        self._server = server
        self._app = app
        self._proxy = proxy
        proxy.limit(RATE)
        proxy.cut_after(CUT_AFTER)

    @property
    def origin(self) -> str:
        return self._proxy.base_url

    @property
    def url(self) -> str:
        return f"{self.origin}{self._path}?filename={self.file.path.name}"

    @property
    def tus_url(self) -> str:
        """The same upload for clients of tus."""
        return f"{self.origin}/incoming/0.1/frontend/tus/{self.ticket}"

    def inflict(self, *, kill: bool) -> None:
        """Waits for the cut and for the upload to go on, and restarts the server, by SIGKILL or politely."""
        self._proxy.wait_for(lambda counters: counters.cut == 1, "the connection to be cut")
        wait_until(self._arrived, "what came before the cut to be kept")
        before = self.wait_for_a_good_part()
        self._proxy.limit(CRAWL)
        self._server.restart(kill=kill)
        self._proxy.limit(RATE)
        after = self._arrived()
        assert before <= after < self.file.size, "the server was to restart in the middle of the upload"

    def wait_for_a_good_part(self) -> int:
        """Return the bytes that have arrived as soon as these are a good part of the file."""
        arrived = wait_until(lambda: (now := self._arrived()) >= RESTART_AT and now, "the upload to be under way", 60)
        assert arrived < self.file.size
        return int(arrived)

    def assert_survived(self) -> None:
        """The app has got the file, byte by byte, and no byte went over the line needlessly often."""
        self._app.assert_received(self.ticket, self.file)
        assert self._proxy.counters.cut == 1
        assert self._proxy.counters.bytes_to_server < 1.4 * self.file.size, "it was to go on, not to begin again"

    @property
    def _path(self) -> str:
        return f"/incoming/0.1/frontend/upload/{self.ticket}"

    def _arrived(self) -> int:
        return int(requests.get(self._server.base_url + self._path, timeout=30).json()["arrived"])
