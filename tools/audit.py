"""Check the dependencies for known vulnerabilities:

`make audit`. Runs pip check, compares the installed versions with the bounds of pyproject.toml, and runs pip-audit and
npm audit. If the servers of the last two cannot be reached, it reports that, which is no finding. Exit code 1 if there
are findings.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def outside_bounds(requirements: list[str]) -> list[str]:
    """Return the installed packages whose version pyproject.toml does not allow."""
    found = []
    for requirement in map(Requirement, requirements):
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if requirement.specifier and not requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement.name} {version} is not {requirement.specifier}")
    return found


def python_advisories(report: dict[str, Any]) -> tuple[list[str], int]:
    """Parse pip-audit's JSON report: advisories, and the number of packages that it could not check."""
    found, unasked = [], 0
    for package in report["dependencies"]:
        unasked += "skip_reason" in package
        for fault in package.get("vulns", ()):
            fixed = ", ".join(fault["fix_versions"]) or "no version yet"
            found.append(f"{package['name']} {package['version']}: {fault['id']}, fixed in {fixed}")
    return found, unasked


def npm_advisories(report: dict[str, Any]) -> list[str] | None:
    """Parse npm's JSON report; None if it could not check."""
    if "vulnerabilities" not in report:
        return None
    return [f"{name}: {fault['severity']}, {fault['range']}" for name, fault in report["vulnerabilities"].items()]


def _json_of(*command: str) -> dict[str, Any]:
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    try:
        report = json.loads(run.stdout)
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    findings = outside_bounds([line for line in (*project["dependencies"], *extras) if not line.startswith("incoming")])

    check = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    findings += check.stdout.splitlines() if check.returncode else []
    print(f"pip check and the bounds of pyproject.toml: {len(findings)} findings")

    report = _json_of(sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--local")
    advisories, unasked = python_advisories(report or {"dependencies": []})
    findings += advisories
    asked = len(report.get("dependencies", ())) - unasked
    print(f"pip-audit: {len(advisories)} advisories about {asked} packages, {unasked} could not be checked")

    faults = npm_advisories(_json_of("npm", "audit", "--json"))
    findings += faults or []
    print("npm audit: could not check" if faults is None else f"npm audit: {len(faults)} advisories")

    for finding in findings:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
