#!/usr/bin/env bash
# Installs the development packages of package-lock.json (esbuild, TypeScript, the frameworks of doc/frameworks.md) when the lock has changed since last time.
set -euo pipefail

if ! command -v npm >/dev/null; then
    echo "npm is not installed: no bundle, no JavaScript checks." >&2
    [ "${CI:-}" != true ]
    exit
fi

stamp=node_modules/.installed-lock
if ! cmp -s package-lock.json "$stamp"; then
    npm ci --ignore-scripts --no-audit --no-fund
    cp package-lock.json "$stamp"
fi
