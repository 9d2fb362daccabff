"""A cluster for the tests of a module. Its logs must be quiet."""

from collections.abc import Iterator

import pytest

from tests.support.app_stub import NotingApp
from tests.support.postgres_server import PostgresServer
from tests.system.cluster.instances import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    postgres = PostgresServer()
    try:
        with NotingApp() as app:
            cluster = Cluster(tmp_path_factory.mktemp("cluster"), postgres, app)
            for instance in cluster.instances:
                instance.start()
            yield cluster
            for instance in cluster.instances:
                instance.kill()
            for instance in cluster.instances:
                instance.expect_noise("ticket database postgresql://")  # one line while the database restarts
                instance.assert_quiet()
    finally:
        postgres.remove()
