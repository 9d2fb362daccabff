# Every habit of the project by name. What takes more than a line of shell lives in tools/.

PYTHON ?= python3
VENV := .venv
PORT := 4000
SECONDS := 600
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run setup test test-unit wide soak soak-cluster soak-objects check bundle packages release bench fuzz conformance audit screenshots clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %s\t%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run-ready ## start the server on port 4000 and the example applications on 4001 and 4002
	@exec $(BIN)/python tools/run_all.py --base-port $(PORT)

setup: $(VENV)/.test-ready ## install what tests and checks need: system packages, Python venv, npm packages
	@tools/system_packages.sh
	@tools/npm_packages.sh

test: setup ## run every test: JavaScript units, then pytest
	@tools/test.sh

test-unit: setup ## run the unit tests alone: well under a minute, for while you work
	@tools/js_tests.sh
	@$(BIN)/python -m pytest -q -n 2 tests/unit

wide: setup ## run the tests that need Java, Maven, Helm, versitygw and Angular, after installing them
	@tools/wide.sh

soak: setup ## for SECONDS=600 each: chaos, and uploads under kills, full disks and bad lines; then a hundred kills (root)
	@SOAK_SECONDS=$(SECONDS) $(BIN)/python -m pytest tests/system/faults -m soak -s -o faulthandler_timeout=$$(($(SECONDS) + 900))

soak-cluster: setup ## the same for SECONDS=600 with three instances on PostgreSQL that die, freeze, fail over and are cut off (root)
	@SOAK_SECONDS=$(SECONDS) $(BIN)/python -m pytest tests/system/cluster -m soak -s -o faulthandler_timeout=$$(($(SECONDS) + 900))

soak-objects: setup ## the same for SECONDS=600 with three instances on a Ceph whose gateways die, hang, are busy and lose answers
	@SOAK_SECONDS=$(SECONDS) $(BIN)/python -m pytest tests/system/objects -m soak -s -o faulthandler_timeout=$$(($(SECONDS) + 900))

check: setup ## lint, format, types, layering, JavaScript units, freshness of the bundle
	@tools/check.sh

bundle: setup ## make incoming/js/dist/ from incoming/js/
	node tools/bundle.mjs

packages: setup ## make the npm package: dist/incoming-upload-<version>.tgz
	node tools/packages.mjs

release: setup ## make what is published, in dist/: wheel, sdist, npm package, SBOM, notes and checksums
	@$(BIN)/python tools/release.py

bench: setup ## compare with other people's software; BENCH="browser" runs one part, BENCH_OPTIONS goes to it; QUICK=1 looks for regressions
	$(BIN)/python -m pip install -q -e '.[bench]'
	$(BIN)/python bench $(if $(QUICK),--quick,$(BENCH)) $(BENCH_OPTIONS)

fuzz: SECONDS := 60
fuzz: setup ## fuzz the parsers of strangers' bytes for SECONDS (60)
	$(BIN)/python tools/fuzz.py --seconds $(SECONDS)

conformance: setup ## run the public conformance suite of tus from its checkout SUITE=...
	$(BIN)/python tools/tus_conformance.py $(SUITE)
	$(BIN)/python tools/tus_conformance.py --override $(SUITE)

audit: setup ## look for known faults in what the project builds on
	$(BIN)/python -m pip install -q -e '.[audit]'
	$(BIN)/python tools/audit.py

screenshots: setup ## take the pictures of doc/pages.md anew; look at each before you commit it
	$(BIN)/python -m tools.screenshots

clean: ## remove what the other targets made (not the storage directory)
	rm -rf $(VENV) node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis bench/peers/node_modules bench/peers/bin .wide

$(BIN)/python:
	@tools/make_venv.sh $(PYTHON) $(VENV)

$(VENV)/.run-ready: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[examples]'
	@touch $@

$(VENV)/.test-ready: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[test,check]'
	@touch $@ $(VENV)/.run-ready
