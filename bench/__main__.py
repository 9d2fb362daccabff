"""The benchmark: `make bench`, or `python bench PART...` with the parts line, browser, small, server, scale, tickets,
throughput, cluster, objects and direct; `python bench --quick` looks for regressions.

Each part compares side by side in one run: clients take turns in several rounds, and the report has medians and ratios.
Every upload is verified by SHA-256. Results go to bench/results/, the report to doc/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import browser
import parts
import quick
import report
import rivals
from cluster_part import CLUSTER_LOADS, cluster_part
from parts import RESULTS, line_named, say

PARTS: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
    "line": parts.line_part,
    "browser": parts.browser_part,
    "small": parts.small_part,
    "server": parts.server_part,
    "scale": parts.scale_part,
    "tickets": parts.tickets_part,
    "throughput": parts.throughput_part,
    "cluster": cluster_part,
    "objects": parts.objects_part,
    "direct": parts.direct_part,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help="which parts (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each comparison (default %(default)s)")
    parser.add_argument("--size", type=int, default=512, help="MiB of a file on loopback (default %(default)s)")
    parser.add_argument(
        "--line-seconds",
        type=float,
        default=20,
        help="minimum duration of an upload on the line (default %(default)s)",
    )
    parser.add_argument(
        "--line-size",
        type=int,
        default=256,
        help="largest file on the line in MiB; slow clients get smaller ones (default %(default)s)",
    )
    parser.add_argument(
        "--line-same-size",
        action="store_true",
        help="use a file of --line-size for every client on the line",
    )
    parser.add_argument(
        "--line",
        type=line_named,
        action="append",
        metavar="RTT,LOSS",
        help="only this line, such as 100,0.1; repeatable (default: all nine)",
    )
    parser.add_argument(
        "--client",
        choices=list(browser.CLIENTS),
        action="append",
        help="only this client on the line; repeatable (default: all)",
    )
    parser.add_argument(
        "--cluster-seconds", type=float, default=5, help="of each load on a ticket store (default %(default)s)"
    )
    parser.add_argument("--cluster-uploads", type=int, default=1000, help="slow uploads at once (default %(default)s)")
    parser.add_argument(
        "--cluster-load", choices=list(CLUSTER_LOADS), action="append", help="only this load; repeatable (default: all)"
    )
    parser.add_argument(
        "--cluster-minutes", type=int, default=10, help="to watch the table of progress (default %(default)s)"
    )
    parser.add_argument(
        "--objects-size", type=int, default=256, help="MiB of a file that becomes an object (default %(default)s)"
    )
    parser.add_argument(
        "--objects-uploads", type=int, default=1000, help="slow uploads to a store at once (default %(default)s)"
    )
    parser.add_argument(
        "--direct-size",
        type=int,
        default=1024,
        help="MiB of a file that pages send straight to a store on loopback (default %(default)s)",
    )
    parser.add_argument("--directory", default=None, help="directory for the files (default: TMPDIR)")
    parser.add_argument(
        "--quick", action="store_true", help="five ratios against bench/baseline.json; exit code 1 if one is worse"
    )
    parser.add_argument("--record", action="store_true", help="with --quick: write them to bench/baseline.json instead")
    told = parser.parse_args()
    if told.quick:
        rivals.install()
        return quick.run(told.directory, keep=told.record, say=say)
    if set(told.parts) != {"cluster"}:
        rivals.install()
    RESULTS.mkdir(exist_ok=True)
    for part in told.parts:
        rows = PARTS[part](told)
        (RESULTS / f"{part}.json").write_text(json.dumps({"rows": rows}, indent=1))
    report.write(RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
