#!/usr/bin/env bash
# Everything that can be said about the code without running the server. All checks run, whatever the first ones found.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
failed=()

check() {
    echo "$*"
    "$@" || failed+=("$*")
}

check $bin/ruff check --quiet
check $bin/ruff format --check
check $bin/mypy
check tools/js_checks.sh
check tools/js_tests.sh
check $bin/python -m pytest -q tests/unit/project/test_layering.py tests/unit/project/test_house.py tests/unit/project/test_bundle.py

[ "${#failed[@]}" -eq 0 ] && exit
echo >&2
printf 'FAILED: %s\n' "${failed[@]}" >&2
exit 1
