"""The faults of a cluster whose files are objects: gateways that die or hang, a store that is busy, lost answers,
multipart uploads that somebody aborts, instances that die.

A fault that lasts is undone later, while others happen.
"""

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tests.support.ceph_cluster import CephCluster, Gateway
from tests.support.incoming_server import IncomingServer
from tests.support.postgres_server import PostgresServer
from tests.system.faults.chaos_app import ChaosApp
from tests.system.faults.fleet import Fleet
from tests.system.faults.injector import Injector
from tests.system.objects.store_entrance import StoreEntrance

Subject = TypeVar("Subject", Gateway, IncomingServer)

COMPLETE, PART = "POST ", "PUT "
"""How requests begin, among those that name a multipart upload."""


class ObjectWitness(ChaosApp):
    """Reads and removes the objects of one bucket by their URLs."""

    def __init__(self, ceph: CephCluster, *others: int) -> None:
        super().__init__(*others)
        self._ceph = ceph

    def read(self, path: str) -> bytes:
        bucket, key = _parts(path)
        try:
            return self._ceph.read(bucket, key)
        except self._ceph.s3.exceptions.NoSuchKey as error:
            raise FileNotFoundError(path) from error

    def remove(self, path: str) -> None:
        bucket, key = _parts(path)
        self._ceph.s3.delete_object(Bucket=bucket, Key=key)


def _parts(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


@dataclass
class ObjectScene:
    """The subjects of the faults. `lasting` scales how long faults last: 1 for a long run."""

    instances: list[IncomingServer]
    database: PostgresServer
    ceph: CephCluster
    gateways: list[Gateway]
    entrance: StoreEntrance
    bucket: str
    fleet: Fleet
    app: ObjectWitness
    note: Callable[[str], None]
    lasting: float = 1.0
    hits: Counter[str] = field(default_factory=Counter)


class ObjectChaos(Injector):
    """All of them."""

    def __init__(self, scene: ObjectScene, seed: int) -> None:
        super().__init__(seed, scene.note, scene.hits)
        self.scene = scene
        self._hurt: set[int] = set()
        self._undo: list[tuple[float, Callable[[], object]]] = []

    # --- the store ----------------------------------------------------------------------------------------------------

    def kill_one_of_two_gateways(self) -> bool:
        return self._kill_gateways(self._unhurt(self.scene.gateways)[:1], 10.0)

    def kill_all_gateways(self) -> bool:
        return self._kill_gateways(self._unhurt(self.scene.gateways), 8.0)

    def _kill_gateways(self, victims: list[Gateway], seconds: float) -> bool:
        flying = self.scene.fleet.flying()
        for gateway in victims:
            gateway.kill()
            self._for(seconds, gateway, gateway.start)
        return bool(victims and flying)

    def freeze_a_gateway(self) -> bool:
        victims = self._unhurt(self.scene.gateways)
        for gateway in victims[:1]:
            gateway.suspend()
            self._for(15.0, gateway, gateway.resume)
        return bool(victims)

    def answer_503(self) -> bool:
        before = self.scene.entrance.hits["busy"]
        self.scene.entrance.busy = True
        time.sleep(self.scene.lasting * 30)
        self.scene.entrance.busy = False
        return self.scene.entrance.hits["busy"] > before

    def lose_answers_to_complete(self) -> bool:
        return self._lose(COMPLETE, 3)

    def lose_answers_to_parts(self) -> bool:
        return self._lose(PART, 6)

    def _lose(self, beginning: str, count: int) -> bool:
        self.scene.entrance.losing[beginning] += count
        deadline = time.monotonic() + 8
        while self.scene.entrance.losing[beginning] == count and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.scene.entrance.losing[beginning] < count

    def abort_multipart_uploads(self) -> bool:
        """As a lifecycle rule does. The server may ask for what it had acknowledged, but openly."""
        for upload in list(self.scene.fleet.uploads):
            upload.allow_losses("multipart upload aborted")
        return bool(self.scene.ceph.abort_uploads(self.scene.bucket))

    # --- instances ----------------------------------------------------------------------------------------------------

    def kill_an_instance(self) -> bool:
        flying, victims = self.scene.fleet.flying(), self._unhurt(self.scene.instances)
        if len(victims) < 2:
            return False
        victims[0].kill()
        self._for(5.0, victims[0], victims[0].start)
        return bool(flying)

    def kill_all_instances(self) -> bool:
        flying, victims = self.scene.fleet.flying(), self._unhurt(self.scene.instances)
        for instance in victims:
            instance.kill()
        for instance in victims:
            instance.start()
        return bool(flying)

    def drain_an_instance(self) -> bool:
        victims = self._unhurt(self.scene.instances)
        if len(victims) < 2:
            return False
        code = victims[0].stop(60)
        assert code == 0, f"an instance was told to end and returned {code}"
        victims[0].start()
        return True

    def send_from_two_instances(self) -> bool:
        """Another session, mostly over another instance, sends parts that are on their way."""
        return self.scene.fleet.take_over_some(self._chance)

    def cancel_an_upload(self) -> bool:
        return self.scene.fleet.cancel_one(self._chance)

    # --- what lasts ---------------------------------------------------------------------------------------------------

    def _unhurt(self, subjects: list[Subject]) -> list[Subject]:
        found = [subject for subject in subjects if id(subject) not in self._hurt]
        self._chance.shuffle(found)
        return found

    def _for(self, seconds: float, subject: object, undo: Callable[[], object]) -> None:
        def heal() -> None:
            undo()
            self._hurt.discard(id(subject))

        self._hurt.add(id(subject))
        self._undo.append((time.monotonic() + self.scene.lasting * seconds, heal))

    def undo_due(self, now: float | None = None) -> None:
        """End the faults whose time has come."""
        now = time.monotonic() if now is None else now
        for entry in [entry for entry in self._undo if entry[0] <= now]:
            self._undo.remove(entry)
            entry[1]()

    def undo_all(self) -> None:
        self.undo_due(math.inf)
