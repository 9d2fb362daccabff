#!/usr/bin/env bash
# Type-checks the browser library and its published declarations.
set -euo pipefail

if ! command -v node >/dev/null; then
    echo "SKIPPED: the type check of incoming/js/, because node is not installed." >&2
    [ "${CI:-}" != true ]
    exit
fi
exec node_modules/.bin/tsc --project tsconfig.json
