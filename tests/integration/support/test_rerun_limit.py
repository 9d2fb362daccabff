"""A run with too many reruns fails in CI, and lists them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.rerun_limit import RERUNS_ALLOWED
from tests.support.tools import ROOT

CONFTEST = """
import pytest
from tests.support.rerun_limit import RerunLimit

def pytest_configure(config):
    config.pluginmanager.register(RerunLimit())
"""
TESTS = """
import pytest
tried = set()

@pytest.mark.flaky(reruns=1)
@pytest.mark.parametrize("number", range({count}))
def test_fails_at_first(number):
    if number not in tried:
        tried.add(number)
        pytest.fail("a lost race")
"""


@pytest.mark.parametrize(
    ("count", "ci", "code"), [(RERUNS_ALLOWED, "true", 0), (RERUNS_ALLOWED + 1, "true", 1), (RERUNS_ALLOWED + 1, "", 0)]
)
def test_reruns_above_the_limit_fail_the_run_in_ci(tmp_path: Path, count: int, ci: str, code: int) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS.format(count=count))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI": ci}
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == code, run.stdout + run.stderr
    assert f"{count} reruns, {RERUNS_ALLOWED} are allowed" in run.stdout
    assert run.stdout.count("a lost race") == count
