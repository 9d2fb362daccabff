#!/usr/bin/env bash
# Runs every test: the browser library's units in Node, then pytest, whose summary is the last line of the output.
# Four modules at a time, because most tests wait for something; the tests of a module share servers and browsers. In
# their own order, the folders with long ones come first, and at the end nobody waits for one last module.
set -uo pipefail
cd "$(dirname "$0")/.."

status=0
tools/js_tests.sh || status=1
.venv/bin/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder "$@" || status=1
exit "$status"
