# `make demo` and `make test` are all a newcomer needs; both make .venv, and write nothing outside this folder and $TMPDIR.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest

export PIP_CACHE_DIR ?= $(CURDIR)/.cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_CACHE_DIR ?= $(CURDIR)/.cache/pyright
export npm_config_cache ?= $(CURDIR)/.cache/npm
export MPLCONFIGDIR ?= $(CURDIR)/.cache/matplotlib
export AWS_EC2_METADATA_DISABLED := true

.DEFAULT_GOAL := help
.PHONY: help demo test lint types floors unit format slow api clean

help: ## Say what there is to run
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.demo ## From a folder of models to answers, on real models (under a minute)
	@$(BIN)/python examples/quickstart.py

test: lint types floors unit ## Everything CI checks

lint: .venv/.dev ## Style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev ## mypy --strict and pyright
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/mypy tests/typing

floors: .venv/.dev ## Imports only point down
	$(BIN)/lint-imports

unit: .venv/.dev ## The tests, without the slow suites
	$(PYTEST) -m "not slow" -n 2 --dist loadfile

slow: .venv/.dev ## The slow suites: soak, benchmarks, real containers
	$(PYTEST) -m slow

format: .venv/.dev ## Mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

api: .venv/.dev ## Renew the snapshot of the public API
	$(BIN)/python scripts/public_api.py --write

clean: ## Remove what the targets above made
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "mme-sdk needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

.venv/.demo: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[local,sklearn]"
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[local,sklearn]" --group dev
	@touch $@ .venv/.demo
