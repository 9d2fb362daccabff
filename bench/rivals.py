"""Install the rivals of the benchmark below bench/peers: other software, never part of the product."""

from __future__ import annotations

import os
import shutil
import subprocess

from servers import PEERS, TUSD, TUSD_VERSION, UPPY


def install() -> None:
    """Raises CalledProcessError when npm fails. When tusd cannot be built, a line says so, and all else works."""
    subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=PEERS, check=True)
    UPPY.parent.mkdir(exist_ok=True)
    bundle = ["node_modules/.bin/esbuild", "uppy.mjs", "--bundle", "--format=iife", f"--outfile={UPPY}"]
    subprocess.run([*bundle, "--minify", "--log-level=error"], cwd=PEERS, check=True)
    if not TUSD.exists():
        _build_tusd()


def _build_tusd() -> None:
    if not shutil.which("go"):
        print("tusd is left out: there is no go to build it with", flush=True)
        return
    print("building tusd, which takes some minutes", flush=True)
    command = ["go", "install", f"github.com/tus/tusd/v2/cmd/tusd@v{TUSD_VERSION}"]
    built = subprocess.run(
        command, env=os.environ | {"GOBIN": str(TUSD.parent)}, capture_output=True, text=True, check=False
    )
    if built.returncode:
        print(f"tusd is left out: go cannot build it: {built.stderr.strip().rpartition(chr(10))[2]}", flush=True)
