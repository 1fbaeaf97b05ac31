# scrimp: two commands for a newcomer (make demo, make test), the rest for those who build it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO := demo-out
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test torture check lint bench bench-low-data bench-quick bench-selection catalogue docs site package audit \
	clean help

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) -e '.[test]'
	touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(PIP) -e '.[bench]'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) -e '.[docs]'
	touch $@

demo: $(VENV)/installed  ## adapt a real model on 64 real examples in a budget of four minutes
	$(BIN)/scrimp sample vader-films --per-class 32 --test 400 --out $(DEMO)/data
	$(BIN)/scrimp fit $(DEMO)/data/train.jsonl --test $(DEMO)/data/test.jsonl --budget 4m --out $(DEMO)/run

test: $(VENV)/installed-test  ## the whole suite, in two processes of one thread
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

torture: $(VENV)/installed-test  ## corrupted inputs, kills, full disks, planted faults: hours; docs/faults.md tells
	$(PIP) -e '.[torture]'
	$(BIN)/python -W ignore -m tests.torture --keep

bench: $(VENV)/installed-bench  ## training beside TRL and a plain PEFT loop, all workloads
	$(BIN)/python -W ignore -m benchmarks.training --both-paths --out benchmarks/training/results.json

bench-selection: $(VENV)/installed  ## quality over total cost, selection included: under an hour on one core
	$(BIN)/python -W ignore -m benchmarks.selection.curves

bench-low-data: $(VENV)/installed  ## few rows and two minutes, beside the peers that SCRIMP_PEERS names: a day
	$(BIN)/python -W ignore -m benchmarks.low_data

bench-quick: $(VENV)/installed-bench  ## the same on two workloads, in a few minutes: one JSON object
	@$(BIN)/python -W ignore -m benchmarks.training --quick

lint: $(VENV)/installed-test  ## style, types, import contracts
	$(BIN)/ruff check src tests evidence benchmarks docs
	$(BIN)/mypy
	$(BIN)/lint-imports

catalogue: $(VENV)/installed  ## the names of what is registered, into the catalogue
	$(BIN)/python -m scrimp.evidence.catalogue

docs: $(VENV)/installed  ## the pages of all methods, from what is registered and what was tried
	$(BIN)/python docs/build.py

site: $(VENV)/installed-docs  ## the documentation as a site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir build/site

package: $(VENV)/installed-test  ## wheel and sdist, each installed in an empty environment and tried; all extras
	$(PIP) -e '.[package]'
	$(BIN)/python tests/package.py

audit: $(VENV)/installed  ## the pinned versions against the published advisories; needs a network
	$(BIN)/python tests/audit.py

check: lint test  ## everything that CI checks

clean:  ## remove what make demo and make test left
	rm -rf $(DEMO) $(VENV) build dist src/*.egg-info
