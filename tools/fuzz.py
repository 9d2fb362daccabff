"""Fuzz the parsers of network input: WebSocket frames, control messages, chunk headers, Content-Range, the fields of
resumable uploads and tus.

    python tools/fuzz.py [--seconds S] [TARGET...]

Each target has its share of the time, in its own process. With atheris what is tried is led by the coverage that it
reaches; where there is none for this Python, by chance. The oracle: a value within the documented limits, or a
documented error. Anything else ends the run with the input that caused it and exit code 1.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("control", "chunk", "ranges", "frames", "resumable", "tus")

TOKENS = [b'"', b"\\u", b"{", b"}", b"[", b",", b":", b"null", b"1e3", b"-", b"9" * 20, b"\xff", b"\0", b"*", b"/"]


def by_chance(name: str, seconds: float) -> int:
    """Try valid inputs with random changes; return their number."""
    from tools.fuzz_targets import MAX_INPUT, TARGETS, seeds

    begin = seeds(name)
    chance = random.Random()
    tried = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = bytearray(chance.choice(begin))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data) + 1)
            upto = min(len(data), at + chance.choice((0, 0, 1, 2, 8)))
            data[at:upto] = chance.choice((chance.choice(TOKENS), chance.randbytes(chance.randint(0, 3)), data[:at]))
        try:
            TARGETS[name](bytes(data[:MAX_INPUT]))
        except Exception:
            print(f"{name}: {bytes(data)!r}", file=sys.stderr)
            raise
        tried += 1
    return tried


def by_coverage(name: str, seconds: float) -> None:
    """Ends the process."""
    import atheris

    with atheris.instrument_imports(
        include=["incoming.core", "incoming.wire.websocket_frames"], enable_loader_override=False
    ):
        from tools.fuzz_targets import MAX_INPUT, TARGETS, seeds
    with tempfile.TemporaryDirectory() as directory:
        for number, seed in enumerate(seeds(name)):
            (Path(directory) / str(number)).write_bytes(seed)
        limits = [f"-max_total_time={max(1, round(seconds))}", f"-max_len={MAX_INPUT}", "-print_final_stats=1"]
        options = [sys.argv[0], *limits, "-verbosity=0", f"-artifact_prefix={tempfile.gettempdir()}/", directory]
        atheris.Setup(options, TARGETS[name])
        atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds for all targets together (default: 60)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", choices=[[], *NAMES], metavar="TARGET", help=", ".join(NAMES))
    told = parser.parse_args()
    names = told.targets or NAMES
    if told.here:
        if find_spec("atheris") is not None:
            by_coverage(names[0], told.seconds)
        print(f"{by_chance(names[0], told.seconds)} random inputs, all handled as documented")
        return 0
    for name in names:
        share = told.seconds / len(names)
        print(f"fuzzing {name} for {share:g} s", flush=True)
        again = [sys.executable, "-m", "tools.fuzz", "--here", "--seconds", str(share), name]
        if subprocess.run(again, cwd=ROOT, check=False).returncode:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
