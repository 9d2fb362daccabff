"""The faults of a cluster: instances that die, freeze, drain or are cut off, clocks that are wrong, and a database that
stops or fails over.

A fault that lasts is undone later, while others happen; an instance that one holds on to gets no other one.
"""

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from signal import SIGCONT, SIGSTOP
from threading import Lock

from tests.system.cluster.database_pair import DatabasePair
from tests.system.cluster.machines import Machine
from tests.system.faults.chaos_app import ChaosApp
from tests.system.faults.fleet import Fleet
from tests.system.faults.injector import Injector

WRONG_CLOCK = 600.0
"""Seconds by which a clock is wrong."""


@dataclass
class ClusterScene:
    """The subjects of the faults. `lasting` scales how long faults last: 1 for a long run."""

    machines: list[Machine]
    database: DatabasePair
    fleet: Fleet
    app: ChaosApp
    note: Callable[[str], None]
    lasting: float = 1.0
    hits: Counter[str] = field(default_factory=Counter)
    no_lost_commits: Lock = field(default_factory=Lock)
    """Held while tickets are made: those of lost commits would be unknown later."""


class ClusterChaos(Injector):
    """All faults of a cluster."""

    def __init__(self, scene: ClusterScene, seed: int) -> None:
        super().__init__(seed, scene.note, scene.hits)
        self.scene = scene
        self._undo: list[tuple[float, str, Callable[[], object]]] = []

    # --- instances ----------------------------------------------------------------------------------------------------

    def kill_an_instance(self) -> bool:
        machine = self._victim()
        if machine is None:
            return False
        flying = self.scene.fleet.flying()
        machine.server.kill()
        self._hurt(machine, 5.0, machine.server.start)
        return bool(flying)

    def freeze_an_instance(self) -> bool:
        """Stop all its processes for longer than its leases, its sessions and its transactions last."""
        machine = self._victim()
        if machine is None or not machine.signal(SIGSTOP):
            return False
        self._hurt(machine, 60.0, lambda: machine.signal(SIGCONT))
        return True

    def drain_an_instance(self) -> bool:
        """Replace an instance by another process of the same name, as an upgrade does."""
        machine = self._victim()
        if machine is None:
            return False
        code = machine.server.stop(60)
        assert code == 0, f"{machine.name} was told to end and returned {code}"
        machine.server.start()
        return True

    def cut_an_instance_off_from_the_database(self) -> bool:
        machine = self._victim()
        if machine is None:
            return False
        machine.network.cut_database()
        self._hurt(machine, 20.0, machine.network.mend_database)
        return True

    def set_a_clock_wrong(self) -> bool:
        machine = self._victim()
        if machine is None:
            return False
        machine.clock.jump(self._chance.choice((WRONG_CLOCK, -WRONG_CLOCK)))
        self._hurt(machine, 30.0, lambda: machine.clock.jump(0.0))
        return True

    # --- the database -------------------------------------------------------------------------------------------------

    def stop_the_database(self) -> bool:
        self.scene.database.restart(self.scene.lasting * self._chance.uniform(1, 8))
        return True

    def fail_over(self) -> bool:
        self.scene.database.fail_over()
        return True

    def fail_over_losing_commits(self) -> bool:
        """What was acknowledged in the last seconds may be asked for again, but nothing wrong may be handed over."""
        with self.scene.no_lost_commits:
            for upload in list(self.scene.fleet.uploads):
                upload.allow_losses("commits lost")
            self.scene.database.fail_over(losing=1.5)
        return True

    # --- what lasts ---------------------------------------------------------------------------------------------------

    def _victim(self) -> Machine | None:
        """An unhurt instance, unless it is the last one that serves."""
        unhurt = [machine for machine in self.scene.machines if not machine.is_hurt]
        return self._chance.choice(unhurt) if len(unhurt) > 1 else None

    def _hurt(self, machine: Machine, seconds: float, undo: Callable[[], object]) -> None:
        machine.is_hurt = True

        def heal() -> None:
            undo()
            machine.is_hurt = False

        self.scene.note(f"{machine.name} is hurt")
        self._undo.append((time.monotonic() + self.scene.lasting * seconds, machine.name, heal))

    def undo_due(self, now: float | None = None) -> None:
        """End the faults whose time has come."""
        now = time.monotonic() if now is None else now
        for entry in [entry for entry in self._undo if entry[0] <= now]:
            self._undo.remove(entry)
            self.scene.note(f"{entry[1]} recovers")
            entry[2]()

    def undo_all(self) -> None:
        self.undo_due(math.inf)
