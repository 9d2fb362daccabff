#!/usr/bin/env bash
# Makes the virtual environment DIR with the interpreter PYTHON: tools/make_venv.sh PYTHON DIR
# Debian and Ubuntu ship Python without ensurepip; where we may, we install what is missing.
set -euo pipefail

python=$1
venv=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    version=$("$python" --version 2>/dev/null) || version="not to be found"
    echo "Incoming!! needs Python 3.11 or newer; '$python' is $version." >&2
    echo "Name another one: make PYTHON=/path/to/python3.11 ..." >&2
    exit 1
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    echo "$python cannot make virtual environments; installing $package" >&2
    if ! "$(dirname "$0")/apt_install.sh" "$package"; then
        echo "Install it by hand (Debian, Ubuntu: apt install $package), then try again." >&2
        exit 1
    fi
fi

# --clear: what is there is broken, for instance by an upgrade of the system's Python.
"$python" -m venv --clear "$venv"
