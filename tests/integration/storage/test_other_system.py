"""The stores keep their contracts in a process without anything that only Linux has."""

import os
import re
import subprocess
import sys

from tests.support.tools import ROOT

UNIT = "disk filesystem_store part_joiner partial_files probe shared_directory sqlite sqlite_host_lock"
PATHS = [*(f"tests/unit/storage/test_{name}.py" for name in UNIT.split()), "tests/unit/storage/s3/test_spool.py"]
PATHS.append("tests/contract/test_byte_store.py")
OTHERS = ("memory", "parts", "scripted_s3", "ceph")
"""Kinds of stores that are not this machine's own files."""


def test_the_tests_of_storage_pass_without_what_only_linux_has() -> None:
    chosen = " and ".join(f"not {kind}" for kind in OTHERS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", "-k", chosen, *PATHS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "support" / "other_system")}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "this system has no locks of open files" in ran.stdout, "nothing was taken away"
    [passed] = re.findall(r"(\d+) passed", ran.stdout)
    assert int(passed) > 150
