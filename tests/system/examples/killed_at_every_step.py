"""Has example 1 called about a file and killed at its first step, then at the second and so on; writes the steps.

After each kill the app is called again. Each time it must have the file exactly once, whole, with nothing left behind,
and never a file that is not whole. Run by test_taking_files.py, with the folder `uploads` below the given directory.
"""

import importlib.util
import io
import os
import shutil
import signal
import sys
import urllib.parse
import uuid
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import IO, Any

from tests.system.examples.example_app import BACKENDS
from tests.system.examples.fake_incoming import signed_headers

CONTENT = os.urandom(300_000)
STEPS = {
    "os.rename",
    "os.remove",
    "os.truncate",
    "fcntl.flock",
    "sqlite3.connect",
    "half of the copy",
    "end of the copy",
}
copyfileobj = shutil.copyfileobj


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("backend", BACKENDS[1])
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copy_with_steps(original: IO[Any], copy: IO[Any], length: int = 0) -> None:
    copy.write(original.read(len(CONTENT) // 2))
    copy.flush()
    sys.audit("half of the copy")
    copyfileobj(original, copy)
    copy.flush()
    sys.audit("end of the copy")


def kill_at(step: int, report: int) -> None:
    """Make the process end itself just before this step; write the step's name to the descriptor `report`."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in STEPS or writes:
            count += 1
            if count == step:
                os.write(report, event.encode())
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def call(backend: ModuleType, fields: dict[str, str]) -> str:
    """Call the app in this process; returns its answer."""
    body = urllib.parse.urlencode(fields).encode()
    headers = signed_headers(fields, body)
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/api/backend/upload_finished",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_INCOMING_TIMESTAMP": headers["Incoming-Timestamp"],
        "HTTP_INCOMING_SIGNATURE": headers["Incoming-Signature"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
    }
    return b"".join(backend.app(environ, lambda *_: None)).decode()


def main(root: Path) -> None:
    backend = load_example()
    storage, uploads = root / "storage", root / "uploads"
    storage.mkdir()
    backend.settings = SimpleNamespace(incoming_storage_dir=storage)
    backend.tickets = backend.Tickets(root / "tickets.sqlite")
    backend.uploads = backend.UploadsFolder(uploads)
    backend.handover = backend.Handover(storage, backend.tickets.secret_of)
    shutil.copyfileobj = copy_with_steps
    for step in range(1, 100):
        ticket = backend.Ticket(str(uuid.uuid4()), "secret")
        backend.tickets.add(ticket)
        arrived = storage / ticket.id
        arrived.write_bytes(CONTENT)
        fields = {"id": ticket.id, "backendSecret": ticket.secret, "filename": str(arrived), "cancelled": "no"}
        fields["filenameFromBrowser"] = f"{step}.bin"
        killed_at = call_and_kill(backend, fields, step)
        named = [path for path in uploads.iterdir() if not path.name.startswith(".")]
        assert all(path.read_bytes() == CONTENT for path in named), f"killed at step {step}: a file is not whole"
        assert call(backend, fields) == call(backend, fields) == "done", f"killed at step {step}"
        assert [path.name for path in uploads.iterdir()] == [f"{step}.bin"], f"killed at step {step}"
        assert (uploads / f"{step}.bin").read_bytes() == CONTENT
        assert not arrived.exists(), f"killed at step {step}: the server's file is left"
        if not killed_at:
            return
        sys.stdout.write(f"{killed_at}\n")
        (uploads / f"{step}.bin").unlink()
    raise AssertionError("there is no end of steps")


def call_and_kill(backend: ModuleType, fields: dict[str, str], step: int) -> str:
    """Call the app in a process of its own; returns the name of the step at which it ended, "" if it came through."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        kill_at(step, writing)
        call(backend, fields)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        killed_at = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == (signal.SIGKILL if killed_at else 0)
    return killed_at


if __name__ == "__main__":
    main(Path(sys.argv[1]))
