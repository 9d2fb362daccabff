"""A worker is killed when it has recorded an arrival and the first attempt, before it makes the call."""

import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest

from incoming.callbacks.delivery import Delivery
from tests.conftest import StartServer
from tests.support.app_stub import AppStub
from tests.support.waiting import wait_until

CONTENT = b"content"

KILLED = f"""
import os, pathlib, signal, sys
from incoming.callbacks import delivery
from incoming.cli.main import main

delivery.LEASE_MARGIN = 1.0
make = delivery.Delivery.{Delivery.make.__name__}

async def die_once(self, ticket, callback, **how):
    once = pathlib.Path(os.environ["KILLED"])
    if not once.exists():
        once.write_text(f"{{ticket.id}} {{ticket.state}} {{callback.attempts}}")
        os.kill(os.getpid(), signal.SIGKILL)
    await make(self, ticket, callback, **how)

delivery.Delivery.make = die_once
sys.exit(main())
"""


@pytest.mark.promise(2, 45)
def test_a_call_that_a_killed_worker_had_recorded_is_made_after_its_lease(
    tmp_path: Path, start_server: StartServer, app_stub: AppStub
) -> None:
    killed = tmp_path / "killed"
    server = start_server(
        "--workers", "2", "--handover-timeout", "1s", program=("-c", KILLED), env={"KILLED": str(killed)}
    )
    told = urlencode({"signalFinishURL": app_stub.url, "removeFileWhenFinished": "false"}).encode()
    with urllib.request.urlopen(f"{server.base_url}/incoming/0.1/backend/new_upload", told) as answer:
        ticket_id = answer.read().decode()
    upload = f"{server.base_url}/incoming/0.1/frontend/upload/{ticket_id}?filename=a"
    put = urllib.request.Request(upload, CONTENT, {"Content-Type": "application/octet-stream"}, method="PUT")
    with suppress(ConnectionError):  # the answer and the end of the worker are a race
        urllib.request.urlopen(put).close()
    wait_until(killed.exists, "a worker being killed")
    server.expect_noise("worker")
    began = time.monotonic()
    [call] = app_stub.wait_for(1)
    assert time.monotonic() - began > 1.0
    assert (call.params["id"], call.headers["incoming-attempt"]) == (ticket_id, "2")
    assert Path(call.params["filename"]).read_bytes() == CONTENT
    wait_until(lambda: "handed over in attempt 2, now finished" in server.log, "the end")
    assert killed.read_text() == f"{ticket_id} handing_over 1"
    assert len(app_stub.callbacks) == 1
