#!/usr/bin/env bash
# Installs Debian packages where that is possible without asking: as root, or with a sudo that wants no password.
# Exits non-zero, saying why, where it is not. Installed daemons are not started.
set -euo pipefail

if ! command -v apt-get >/dev/null; then
    echo "No apt-get here: cannot install $*" >&2
    exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "Not root, and sudo wants a password: cannot install $*" >&2
        exit 1
    fi
    as_root=(sudo -n)
fi

# nginx and haproxy would start as services at once; tests start their own on free ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi

apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
"${apt[@]}" update >/dev/null
"${apt[@]}" install --no-install-recommends "$@" </dev/null >/dev/null
