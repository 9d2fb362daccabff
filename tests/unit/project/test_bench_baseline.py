"""When `make bench QUICK=1` calls a ratio worse than the committed one."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.tools import ROOT


@pytest.fixture(scope="module")
def baseline() -> ModuleType:
    """The module, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("bench_baseline", ROOT / "bench" / "baseline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_baseline"] = module
    spec.loader.exec_module(module)
    return module


def test_a_ratio_that_is_worse_by_more_than_a_quarter_is_a_regression(baseline: ModuleType) -> None:
    before = {"rate": 2.0, "cost": 2.0}
    for rate, cost, expected in (
        (1.51, 2.49, []),
        (1.49, 2.0, ["rate"]),
        (2.0, 2.51, ["cost"]),
        (4.0, 1.0, []),
        (1.0, 4.0, ["rate", "cost"]),
    ):
        rows = [baseline.Row("rate", rate, more=True), baseline.Row("cost", cost, more=False)]
        assert [row.name for row in baseline.regressions(rows, before)] == expected


def test_a_new_ratio_is_reported_and_no_regression(baseline: ModuleType) -> None:
    rows = [baseline.Row("new", 0.1, more=True), baseline.Row("known", 3.0, more=False)]
    assert baseline.regressions(rows, {"known": 2.0}) == rows[1:]
    first, second = baseline.report(rows, {"known": 2.0}).splitlines()[1:]
    assert first.split() == ["new", "0.10", "-", "new"]
    assert second.split() == ["known", "3.00", "2.00", "-50", "%"]


def test_results_of_other_machines_are_kept_and_not_compared(baseline: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert baseline.load("one", path) is None
    baseline.record("one", [baseline.Row("rate", 2.0, more=True)], path)
    baseline.record("other", [baseline.Row("rate", 1.0, more=True)], path)
    baseline.record("one", [baseline.Row("rate", 2.5, more=True)], path)
    assert json.loads(path.read_text()) == {"one": {"rate": 2.5}, "other": {"rate": 1.0}}
    assert baseline.load("third", path) is None


def test_machines_are_of_one_type_if_processor_and_cores_are_the_same(baseline: ModuleType) -> None:
    first = baseline.machine_type("model name\t: Fast CPU\ncache: 1\nmodel name\t: Fast CPU\n")
    assert first.startswith("Fast CPU, ")
    assert first != baseline.machine_type("model name\t: Slow CPU\n")
    assert baseline.machine_type("").startswith("unknown processor, ")


def test_the_committed_ratios_are_positive_numbers(baseline: ModuleType) -> None:
    known = json.loads(baseline.BASELINE.read_text())
    assert known
    for ratios in known.values():
        assert len(ratios) == 5
        assert all(ratio > 0 for ratio in ratios.values())
