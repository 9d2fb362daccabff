#!/usr/bin/env bash
# Runs every test: the browser library's units in Node, then pytest, whose summary is the last line of the output.
set -uo pipefail
cd "$(dirname "$0")/.."

status=0
tools/js_tests.sh || status=1
.venv/bin/python -m pytest "$@" || status=1
exit "$status"
