#!/usr/bin/env bash
# Makes sure that the programs which tests and checks call are installed: one line per program and its Debian package.
# Returns at once when all are there. What cannot be had is named: the tests that need it are skipped and say so,
# or fail with CI=true.
set -euo pipefail

programs='
chromium  chromium
chromium-headless-shell chromium-headless-shell
firefox-esr firefox-esr
WebKitWebDriver webkit2gtk-driver
Xvfb      xvfb
node      nodejs
npm       npm
nginx     nginx
haproxy   haproxy
apache2   apache2
caddy     caddy
strace    strace
curl      curl
openssl   openssl
ip        iproute2
sqlite3   sqlite3
rsync     rsync
promtool  prometheus
systemd-analyze systemd
pg_ctlcluster postgresql
pgbouncer pgbouncer
ceph-mon  ceph-mon
ceph-osd  ceph-osd
radosgw   radosgw
ceph      ceph-common
s3cmd     s3cmd
php       php-cli
'

PATH=$PATH:/usr/sbin:/sbin

missing() {
    while read -r program package; do
        [ -z "$program" ] || command -v "$program" >/dev/null || echo "$package"
    done <<<"$programs"
}

packages=$(missing)
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "No apt-get here, so these Debian packages are not installed, and tests that need them are skipped:" $packages >&2
    [ "${CI:-}" != true ]
    exit
fi

echo "Installing for the tests:" $packages
# One by one: a package that this system does not have must not keep the others away.
for package in $packages; do
    "$(dirname "$0")/apt_install.sh" "$package" >&2 || true
done

packages=$(missing)
[ -n "$packages" ] || exit 0

cat >&2 <<EOF
************************************************************************
 These Debian packages are missing and could not be installed:
 $(echo $packages)
 Tests that need them will be skipped; with CI=true they will fail.
************************************************************************
EOF
