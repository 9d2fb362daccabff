"""Render conf/helm with each set of values in tests/system/deployment/chart/, for the tests that have no helm.

    python tools/render_chart.py [HELM]

Run it after a change of the chart or of those values. The first line of a result names what it was made of.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "conf" / "helm"
SETS = ROOT / "tests" / "system" / "deployment" / "chart"
KUBERNETES = "1.31.0"


def origin(values: Path) -> str:
    """Return the first line of what is rendered with these values: a digest of them and of the chart."""
    digest = hashlib.sha256()
    for path in [*sorted(path for path in CHART.rglob("*") if path.is_file()), values]:
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return f"# Rendered from conf/helm {digest.hexdigest()[:16]} by tools/render_chart.py\n"


def result_of(values: Path) -> Path:
    """Return where what is rendered with these values is kept."""
    return values.with_name(values.name.removesuffix(".values.yaml") + ".yaml")


def render(helm: str, values: Path) -> str:
    """Return what helm makes of the chart with these values. Raises CalledProcessError."""
    for command in (["lint", "--strict"], ["template", "incoming", "--namespace", "uploads"]):
        verb, *rest = command
        rest += [str(CHART), "--kube-version", KUBERNETES, "--values", str(values)]
        done = subprocess.run([helm, verb, *rest], capture_output=True, text=True, check=True)
    return origin(values) + done.stdout


def main() -> int:
    helm = sys.argv[1] if len(sys.argv) > 1 else "helm"
    for values in sorted(SETS.glob("*.values.yaml")):
        result_of(values).write_text(render(helm, values))
        print(result_of(values).relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
