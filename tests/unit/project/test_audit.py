"""What counts as a finding when the dependencies are looked at."""

import importlib.metadata

from tools import audit


def test_versions_outside_the_bounds() -> None:
    version = importlib.metadata.version("tornado")
    assert audit.outside_bounds([f"tornado=={version}", "tornado", "no-such-package<1"]) == []
    assert audit.outside_bounds(["tornado<6"]) == [f"tornado {version} is not <6"]


def test_advisories_of_pip_audit() -> None:
    fault = {"id": "CVE-1", "fix_versions": ["2", "3"]}
    report = {
        "dependencies": [
            {"name": "good", "version": "1", "vulns": []},
            {"name": "bad", "version": "1", "vulns": [fault, {"id": "CVE-2", "fix_versions": []}]},
            {"name": "unknown", "skip_reason": "not found"},
        ]
    }
    found, unasked = audit.python_advisories(report)
    assert found == ["bad 1: CVE-1, fixed in 2, 3", "bad 1: CVE-2, fixed in no version yet"]
    assert unasked == 1


def test_advisories_of_npm() -> None:
    assert audit.npm_advisories({"error": {"code": "E405"}}) is None
    assert audit.npm_advisories({"vulnerabilities": {}}) == []
    report = {"vulnerabilities": {"esbuild": {"severity": "high", "range": "<1"}}}
    assert audit.npm_advisories(report) == ["esbuild: high, <1"]
