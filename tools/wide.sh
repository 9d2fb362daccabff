#!/usr/bin/env bash
# Runs the tests that are marked `wide`, after installing what only they need: a JDK, Maven, and tus-java-client from
# Maven's central repository into .wide/.
set -euo pipefail
cd "$(dirname "$0")/.."

client=io.tus.java.client:tus-java-client:0.5.1

command -v javac >/dev/null || tools/apt_install.sh default-jdk-headless
command -v mvn >/dev/null || tools/apt_install.sh maven
[ -n "$(ls .wide/tus-java-client-*.jar 2>/dev/null)" ] ||
    mvn --quiet --batch-mode dependency:copy -Dartifact="$client" -DoutputDirectory="$PWD/.wide"

.venv/bin/python -m pytest -m wide tests/system/clients "$@"
