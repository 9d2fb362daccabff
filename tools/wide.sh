#!/usr/bin/env bash
# Runs the tests that are marked `wide`, after installing what only they need into .wide/: a JDK, Maven, and
# tus-java-client from Maven's central repository; Helm and versitygw, built by Go; Angular with the TypeScript that its compiler wants.
set -euo pipefail
cd "$(dirname "$0")/.."

client=io.tus.java.client:tus-java-client:0.5.1
helm=helm.sh/helm/v3/cmd/helm@v3.18.6
angular=22.2.6
versitygw=github.com/versity/versitygw/cmd/versitygw@v1.8.0

command -v javac >/dev/null || tools/apt_install.sh default-jdk-headless
command -v mvn >/dev/null || tools/apt_install.sh maven
[ -n "$(ls .wide/tus-java-client-*.jar 2>/dev/null)" ] ||
    mvn --quiet --batch-mode dependency:copy -Dartifact="$client" -DoutputDirectory="$PWD/.wide"

[ -d .wide/angular/node_modules/@angular/compiler-cli ] ||
    npm install --prefix .wide/angular --ignore-scripts --no-audit --no-fund --loglevel error --save-exact \
        @angular/{core,common,compiler,compiler-cli,platform-browser}@"$angular" rxjs@7.8.2 typescript@6.0.3 zone.js@0.16.3

export PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || tools/apt_install.sh golang-go
[ -x .wide/helm ] || GOBIN="$PWD/.wide" go install "$helm"
[ -x .wide/versitygw ] || GOBIN="$PWD/.wide" go install "$versitygw"

.venv/bin/python -m pytest -m wide tests/contract tests/system/clients tests/system/deployment tests/system/packages "$@"
