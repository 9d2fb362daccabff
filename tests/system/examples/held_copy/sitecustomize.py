"""In an application under test: holds its first copy of a file in the middle, until the test lets it go on or kills it.

Python imports this module at its start where PYTHONPATH names this folder. HOLD_COPY_AT names the folder where the
application creates `held`, and waits for `go`.
"""

import os
import shutil
import time
from pathlib import Path
from typing import IO, Any

HALF = 1 << 20
copyfileobj = shutil.copyfileobj


def copy_in_two_halves(original: IO[Any], copy: IO[Any], length: int = 0) -> None:
    """Copy the first MiB, wait, and copy the rest. Only the first copy of all processes waits."""
    copy.write(original.read(HALF))
    copy.flush()
    folder = Path(os.environ["HOLD_COPY_AT"])
    if not (folder / "held").exists():
        (folder / "held").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
    copyfileobj(original, copy)


if "HOLD_COPY_AT" in os.environ:
    shutil.copyfileobj = copy_in_two_halves
    shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined] # every copy goes through copyfileobj
