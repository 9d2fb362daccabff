"""A server whose tickets go to an object store, the app that it calls, and the simplest of clients."""

import json
from typing import Any

import requests

from tests.support.app_stub import AppStub, Callback
from tests.support.ceph_cluster import ACCESS_KEY, SECRET_KEY
from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until


def store_option(url: str, bucket: str, **more: object) -> str:
    """Return the option of one store, `s3`, with parts of 4 KiB."""
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    store = {"bucket": bucket, "endpoint": url, "part_size": "4096", **keys, **more}
    return "--object-stores=" + json.dumps({"s3": {name: str(value) for name, value in store.items()}})


class ObjectBench:
    """What tests of objects need of one server. Paths are those of the documented functions."""

    def __init__(self, server: IncomingServer, app: AppStub) -> None:
        self.server = server
        self.app = app

    def new_upload(self, **more: str) -> str:
        answer = self.backend("new_upload", signalFinishURL=self.app.url, destType="s3", **more)
        assert answer.status_code == 200, answer.text
        return answer.text

    def backend(self, function: str, **given: str) -> requests.Response:
        url = f"{self.server.base_url}/incoming/0.1/backend/{function}"
        return requests.post(url, data={"backendSecret": "secret", **given}, timeout=30)

    def put(self, ticket: str, content: bytes, start: int = 0, size: int | None = None) -> requests.Response:
        """Send [start, start + length) of a file of `size` bytes, by default all of it."""
        whole = len(content) if size is None else size
        fields = {"Content-Range": f"bytes {start}-{start + len(content) - 1}/{whole}"} if content else {}
        url = f"{self.server.base_url}/incoming/frontend/upload/{ticket}?filename=a.bin"
        return requests.put(url, content, headers=fields, timeout=120, allow_redirects=False)

    def status(self, ticket: str) -> dict[str, Any]:
        url = f"{self.server.base_url}/incoming/frontend/upload/{ticket}"
        answer: dict[str, Any] = requests.get(url, timeout=30).json()
        return answer

    def reaches(self, ticket: str, state: str) -> None:
        wait_until(lambda: self.status(ticket)["state"] == state, f"{ticket} to be {state}")

    def handed_over(self, ticket: str) -> Callback:
        """Return the callback for the complete object."""
        [callback] = self.app.wait_for(1, ticket)
        return callback
