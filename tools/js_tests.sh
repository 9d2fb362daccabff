#!/usr/bin/env bash
# Runs the unit tests of the browser library in Node, without a browser.
set -euo pipefail
shopt -s nullglob globstar

tests=(tests/unit/js/**/*.test.js)
if ! command -v node >/dev/null; then
    echo "SKIPPED: ${#tests[@]} JavaScript test files, because node is not installed." >&2
    [ "${CI:-}" != true ]
    exit
fi
if [ "${#tests[@]}" -eq 0 ]; then exit; fi

# Success is told in one line; a failure with all that Node says.
if output=$(node --test --test-reporter=spec "${tests[@]}" 2>&1); then
    echo "JavaScript: $(sed -n 's/^[^a-z]*\(pass [0-9]*\)$/\1/p' <<<"$output")"
else
    echo "$output"
    exit 1
fi
