"""Python imports this module at its start when its folder is in PYTHONPATH: the process lacks what only Linux has."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "linux_only.py"))["remove"]()
