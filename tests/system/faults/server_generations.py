"""Several generations of the server on one directory, as during a rolling update, behind common proxies."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from tests.support.fault_proxy import FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until
from tests.system.faults.processes import children_of, is_alive

DESCRIPTORS = 200
"""How many each process may have: enough for the fleet, and few enough to be used up."""

ENDING = 45.0
"""Seconds that a server, or a worker without a supervisor, may take to end."""


class ServerGenerations:
    """`serving` are those that get new connections; others may still be draining."""

    def __init__(self, storage_dir: Path, *options: str, env: Mapping[str, str], expected_noise: str) -> None:
        self.storage_dir = storage_dir
        self.serving: list[IncomingServer] = []
        self.proxies: list[FaultProxy] = []
        self._options = options
        self._env = env
        self._expected_noise = expected_noise
        self._all: list[IncomingServer] = []

    def __enter__(self) -> "ServerGenerations":
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._all:
            server.kill()

    @property
    def newest(self) -> IncomingServer:
        return self.serving[-1]

    @property
    def log(self) -> str:
        return self._all[0].log

    def noise(self) -> list[str]:
        """Return forbidden lines of the common log."""
        return self._all[0].noise()

    def workers(self) -> list[int]:
        """Return the workers of the serving ones."""
        return [pid for server in self.serving if server.is_running() for pid in children_of(server.pid)]

    def start(self) -> IncomingServer:
        """Start another one, which gets its share of new connections as soon as it answers."""
        server = IncomingServer(self.storage_dir, *self._options, env=self._env, descriptors=DESCRIPTORS)
        server.expect_noise(self._expected_noise)
        self._all = [one for one in self._all if one.is_running() or one is self._all[0]]
        self._all.append(server)
        server.start()
        self.serving.append(server)
        self.route()
        return server

    def route(self) -> None:
        """Send new connections to the serving ones."""
        if self.serving:
            for proxy in self.proxies:
                proxy.forward_to(*(server.port for server in self.serving))

    def end(self, server: IncomingServer) -> None:
        """Stop one by SIGTERM, after new connections go to the others, if there are any."""
        self.serving.remove(server)
        self.route()
        code = server.stop(ENDING)
        assert code == 0, f"a server that was told to end returned {code}"

    def kill(self, server: IncomingServer) -> None:
        """Kill all its processes at once; the proxies are updated later."""
        server.kill()
        self.serving.remove(server)
        self.route()

    def kill_all(self) -> None:
        for server in list(self.serving):
            self.kill(server)

    def kill_supervisor(self, server: IncomingServer) -> list[int]:
        """Kill the supervisor, return its workers, which continue for a moment; `see_off` waits for their end."""
        workers = children_of(server.pid)
        os.kill(server.pid, signal.SIGKILL)
        return workers

    def see_off(self, server: IncomingServer, workers: list[int]) -> None:
        wait_until(lambda: not any(map(is_alive, workers)), "the workers without a supervisor to end", ENDING)
        self.kill(server)
