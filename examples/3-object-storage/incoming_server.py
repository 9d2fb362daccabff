"""An Incoming!! server of this example's own, as a process that ends with it. Its files are in ./incoming-data."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

START_TIMEOUT = 30  # seconds


class ServerProblem(Exception):
    """It does not run."""


class IncomingProcess:
    """Use it in a with statement. `database` is a PostgreSQL URL, or empty."""

    def __init__(self, bucket, port, part_size, database):
        self._health = f"http://localhost:{port}/incoming/0.1/health"
        self._command = [sys.executable, str(ROOT / "incoming.py"), "--port", str(port)]
        store = {"bucket": bucket.name, "region": bucket.region, "part_size": str(part_size)}
        # Without this line the bytes go through the Incoming!! server.
        store["direct"] = "true"
        if bucket.endpoint:
            store["endpoint"] = bucket.endpoint
        # Options may be in the environment, and secrets should: other users can see a command line.
        self._environment = {
            **os.environ,
            "INCOMING_STORAGE_DIR": "incoming-data",
            "INCOMING_OBJECT_STORES": json.dumps({"s3": store}),
            "INCOMING_DEST_TYPES": "s3",
            "AWS_ACCESS_KEY_ID": bucket.access_key,
            "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        }
        if database:
            self._environment["INCOMING_DATABASE"] = database

    def __enter__(self):
        # In a session of its own: it does not get our Ctrl-C, and ends when we have.
        self._process = subprocess.Popen(self._command, env=self._environment, start_new_session=True)
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_):
        self._stop()

    def _wait_until_ready(self):
        deadline = time.monotonic() + START_TIMEOUT
        while not self._is_ready():
            if self._process.poll() is not None:
                raise ServerProblem("the Incoming!! server has ended; the line above says why")
            if time.monotonic() > deadline:
                raise ServerProblem(f"the Incoming!! server is not ready after {START_TIMEOUT} seconds")
            time.sleep(0.05)

    def _is_ready(self):
        try:
            with urllib.request.urlopen(self._health, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _stop(self):
        self._process.terminate()
        self._process.wait()
