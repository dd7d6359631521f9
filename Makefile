# make help lists the targets. PYTHON=/path/to/python chooses the interpreter (3.11 or newer).

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
TESTS ?= tests
MEASURE ?= P1

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint format types docs bench bench-quick setup-peers clean

help:  ## what can be made
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 14

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

$(VENV)/installed-bench: bench/requirements.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	touch $@

demo: $(VENV)/installed  ## serve two sites on unprivileged ports and say what to try
	$(BIN)/revproxy demo

test: $(VENV)/installed  ## run the tests; TESTS=tests.unit runs a part of them
	$(BIN)/python -W error -m twisted.trial $(TESTS)

soak: $(VENV)/installed  ## bodies of 1 GiB, a minute under load, 5 000 connections, HTTP/2, WebSockets: six minutes
	$(BIN)/python -W error -m twisted.trial tests.soak.test_memory tests.soak.test_operation tests.soak.test_h2 \
		tests.soak.test_websocket tests.soak.test_passthrough

lint: $(VENV)/installed  ## check style
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/installed  ## put the style right
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/installed  ## check types
	$(BIN)/mypy

docs: $(VENV)/installed  ## write docs/configuration.md anew from the model and the readers
	$(BIN)/python -m revproxy.settings.reference > $(VENV)/configuration.md
	cp $(VENV)/configuration.md docs/configuration.md

bench: $(VENV)/installed-bench  ## compare with nginx, HAProxy, Caddy and Envoy: about ten minutes
	$(BIN)/python -m bench

bench-quick: $(VENV)/installed-bench  ## P1 alone in about one minute; MEASURE=P3 another one
	$(BIN)/python -m bench --only $(MEASURE)

setup-peers:  ## install the Debian packages that tests and benchmarks meet
	.ci/setup-peers

clean:  ## remove what was made
	rm -rf $(VENV) .tox .mypy_cache .ruff_cache .hypothesis _trial_temp* build dist
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
	find . -name '*.egg-info' -not -path './.git/*' -prune -exec rm -rf {} +
