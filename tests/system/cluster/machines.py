"""Instances as on machines of their own: each has its network, its clock, its name and two workers."""

import os
import secrets
import signal
from pathlib import Path

from tests.support.incoming_server import IncomingServer
from tests.system.cluster.database_pair import DatabasePair
from tests.system.cluster.network import InstanceNetwork
from tests.system.faults.processes import children_of
from tests.system.faults.shifted_clock import ShiftedClock

OPTIONS = (
    *("--workers", "2", "--durability", "power", "--low-space", "1MiB", "--idle-timeout", "10min"),
    *("--handover-timeout", "2", "--handover-max-backoff", "1", "--ping-interval", "1", "--dead-after", "5"),
    # The proxy and the applications are on this machine, which is another one for the instance.
    *("--backend-networks", "127.0.0.0/8,10.0.0.0/8"),
)

EXPECTED_NOISE = (
    r"incoming\.storage.*ticket database"
    # What asyncpg leaves behind when the line is cut, or its time is over, while it connects.
    r"|Future exception was never retrieved.*unexpected connection_lost\(\) call"
)
"""What the log has when the database does not answer."""


class Machine:
    """One of them. Use `network` in a with statement; `server` is started by the caller."""

    def __init__(self, number: int, subnet: str, directory: Path, database: DatabasePair) -> None:
        self.name = f"instance-{number}"
        self.network = InstanceNetwork(subnet, number)
        self.clock = ShiftedClock(directory / f"clock-{number}")
        self.is_hurt = False
        """Whether a fault holds on, so that it should get no other one."""
        self.server = IncomingServer(
            directory / "storage",
            *(*OPTIONS, "--instance", self.name),
            env={**self.clock.env, "INCOMING_DATABASE": database.dsn(self.network.database_address)},
            address=self.network.address,
            prefix=self.network.prefix,
        )
        self.server.log_path = directory / f"{self.name}.log"
        self.server.expect_noise(EXPECTED_NOISE)

    def processes(self) -> list[int]:
        """Return supervisor and workers; none if the instance does not run."""
        return [self.server.pid, *children_of(self.server.pid)] if self.server.is_running() else []

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to all its processes; return False if there is none."""
        if not self.server.is_running():
            return False
        os.killpg(self.server.pid, number)
        return True


def new_subnet() -> str:
    """Return the first three numbers of a network that no other cluster of this machine has, as far as chance goes."""
    return f"10.{64 + secrets.randbelow(128)}.{secrets.randbelow(256)}"
