"""Two instances with one PostgreSQL database and one directory, and the application that they call."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

from tests.support.app_stub import NotingApp
from tests.support.incoming_server import IncomingServer
from tests.support.postgres_server import PostgresServer
from tests.support.waiting import wait_until

OPTIONS = ("--workers", "1", "--durability", "power")


class Cluster:
    """The instances `one` and `other`, their database and the app that they call."""

    def __init__(self, directory: Path, postgres: PostgresServer, app: NotingApp, prefix: Sequence[str] = ()) -> None:
        self.postgres = postgres
        self.app = app
        self._prefix = prefix
        self.storage_dir = directory / "storage"
        # As operators should: the password of a real one must not be on the command line.
        self.env = {"INCOMING_DATABASE": postgres.new_schema()}
        self.one, self.other = (self._instance(name) for name in ("one", "other"))

    def _instance(self, name: str) -> IncomingServer:
        instance = IncomingServer(self.storage_dir, *OPTIONS, "--instance", name, env=self.env, prefix=self._prefix)
        instance.log_path = self.storage_dir.with_name(f"{name}.log")
        return instance

    @property
    def instances(self) -> tuple[IncomingServer, IncomingServer]:
        return self.one, self.other

    def new_upload(self, instance: IncomingServer) -> str:
        return self.backend(instance, "new_upload", signalFinishURL=self.app.url)

    def backend(self, instance: IncomingServer, function: str, **parameters: str) -> str:
        url = f"{instance.base_url}/incoming/0.1/backend/{function}"
        answer = requests.post(url, data={"backendSecret": "secret", **parameters}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text

    def put(self, instance: IncomingServer, ticket: str, content: bytes, start: int, size: int) -> requests.Response:
        return requests.put(
            f"{instance.base_url}/incoming/frontend/upload/{ticket}?filename=a.bin",
            content,
            headers={"Content-Range": f"bytes {start}-{start + len(content) - 1}/{size}"},
            timeout=60,
            allow_redirects=False,
        )

    def status(self, instance: IncomingServer, ticket: str) -> dict[str, Any]:
        answer: dict[str, Any] = requests.get(
            f"{instance.base_url}/incoming/frontend/upload/{ticket}", timeout=30
        ).json()
        return answer

    def reaches(self, instance: IncomingServer, ticket: str, state: str) -> None:
        wait_until(lambda: self.status(instance, ticket)["state"] == state, f"{ticket} to be {state}")

    def received(self, ticket: str) -> list[bytes]:
        return [content for known, content in self.app.files if known == ticket]
