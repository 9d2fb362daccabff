#!/usr/bin/env bash
# Runs the unit tests of the browser library in Node, without a browser.
set -euo pipefail
shopt -s nullglob

tests=(tests/js/*.test.js)
if ! command -v node >/dev/null; then
    echo "SKIPPED: ${#tests[@]} JavaScript test files, because node is not installed." >&2
    [ "${CI:-}" != true ]
    exit
fi
[ "${#tests[@]}" -eq 0 ] || exec node --test "${tests[@]}"
