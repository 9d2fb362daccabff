"""The server with other constants, in the place of `incoming.py`: `python -m tests.support.patched_server`.

`PATCHES` in the environment is a JSON object of their dotted names and values.
"""

import json
import os
import sys
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from incoming.cli.main import main
from tests.support.tools import ROOT

PROGRAM = ("-m", "tests.support.patched_server")


def patched(**constants: float) -> dict[str, Any]:
    """Return what starts a server with these constants: names have two underscores where modules have a dot."""
    names = {f"incoming.{name.replace('__', '.')}": value for name, value in constants.items()}
    return {"program": PROGRAM, "env": {"PATCHES": json.dumps(names), "PYTHONPATH": str(ROOT)}}


if __name__ == "__main__":
    with ExitStack() as patches:
        for name, value in json.loads(os.environ["PATCHES"]).items():
            patches.enter_context(patch(name, value))
        sys.exit(main())
