"""Make a release: `python tools/release.py [DIR]` writes everything that is published to DIR (default dist/).

Wheel, sdist and npm package, an SBOM (CycloneDX), release notes and checksums; the same sources, packages and tools
make the same bytes. Decides what belongs to a release; uploads nothing.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("metrics", "fast", "client", "postgres")
"""The extras that users install; the others are for work on the project."""


def version() -> str:
    """Return the version of the sources."""
    [found] = re.findall(r'^__version__ = "(.+)"$', (ROOT / "incoming" / "__init__.py").read_text(), re.MULTILINE)
    return str(found)


def release_notes(wanted: str) -> str:
    """Return the changelog's section about a version. Raises ValueError if there is none."""
    for section in re.split(r"^## ", (ROOT / "doc" / "changelog.md").read_text(), flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        if re.fullmatch(rf"{re.escape(wanted)} - \d{{4}}-\d\d-\d\d", heading.strip()):
            return f"# Incoming!! {heading.strip()}\n\n{text.strip()}\n"
    raise ValueError(f"doc/changelog.md has no section '## {wanted} - YYYY-MM-DD': write it, then release")


def export(target: Path) -> None:
    """Copy the sources that the repository has: nothing that was left in the directory comes into a release."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


def build_python(target: Path) -> None:
    """Write wheel and sdist."""
    # The times in the archives: a constant, so that the day of a build leaves no trace.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1577836800", "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as folder:
        export(Path(folder))
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(target)]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def build_npm(target: Path) -> None:
    """Write the package of the browser library."""
    command = ["node", "tools/packages.mjs", str(target)]
    # npm packs files with the modes that they have.
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, umask=0o022)


def installed(requirements: list[str], extra: str = "") -> Iterator[importlib.metadata.Distribution]:
    """Yield the distributions that meet the requirements, as they are installed here, and what they need themselves."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            found = importlib.metadata.distribution(requirement.name)
            yield found
            for wanted in ("", *requirement.extras):
                yield from installed(found.requires or [], wanted)


def component(found: importlib.metadata.Distribution, scope: str) -> dict[str, Any]:
    """Return a library as CycloneDX describes it."""
    name, fields = re.sub(r"[-_.]+", "-", found.name).lower(), found.metadata
    purl = f"pkg:pypi/{name}@{found.version}"
    described: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": found.version}
    described |= {"scope": scope, "purl": purl}
    licence = next((fields[key] for key in ("License-Expression", "License") if key in fields), "")
    if licence and "\n" not in licence:
        described["licenses"] = [{"license": {"name": licence}}]
    return described


def sbom(wheel: Path) -> dict[str, Any]:
    """Return the bill of materials of a wheel: what it requires, and what its extras do."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    components = {found.name.lower(): component(found, "required") for found in installed(project["dependencies"])}
    for extra in EXTRAS:
        for found in installed(project["optional-dependencies"][extra]):
            components.setdefault(found.name.lower(), component(found, "optional"))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    purl = f"pkg:pypi/incoming@{version()}"
    described = sorted(components.values(), key=lambda one: str(one["purl"]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": purl,
                "name": "incoming",
                "version": version(),
                "licenses": [{"license": {"id": "MIT"}}],
                "purl": purl,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        },
        "components": described,
        "dependencies": [{"ref": purl, "dependsOn": [one["purl"] for one in described]}],
    }


def release(target: Path) -> list[Path]:
    """Write all files of a release and return them. Raises ValueError, or CalledProcessError if a build fails."""
    name = f"incoming-{version()}"
    notes = release_notes(version())
    target.mkdir(parents=True, exist_ok=True)
    build_python(target)
    build_npm(target)
    wheel = target / f"{name}-py3-none-any.whl"
    bill = target / f"{name}.cdx.json"
    bill.write_text(json.dumps(sbom(wheel), indent=2) + "\n", encoding="utf-8")
    (target / f"{name}-notes.md").write_text(notes, encoding="utf-8")
    npm = f"incoming-upload-{version()}.tgz"
    files = [wheel, target / f"{name}.tar.gz", target / npm, bill, target / f"{name}-notes.md"]
    sums = target / "SHA256SUMS"
    lines = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    sums.write_text("".join(lines), encoding="utf-8")
    return [*files, sums]


def main() -> int:
    """Make the release, print its files, and return the exit code."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True).stdout
    if changed.strip():
        print("release: not all changes are committed: they are in the release, but in no revision", file=sys.stderr)
    try:
        for file in release(target):
            print(file)
    except ValueError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
