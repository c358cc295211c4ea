# make demo   set everything up and hold a call between two processes on this machine
# make test   prove the tree: linters, types, tests
# PYTHON=python3.12 chooses another interpreter; PIP_ARGS='...' goes to pip.

PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.gemino-installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format clean

help:
	@echo "make setup   create $(VENV) and install Gemino with its development tools"
	@echo "make demo    a real call between two processes here; results in out/demo/"
	@echo "make test    linters, types and tests"
	@echo "make lint    linters and types only"
	@echo "make format  let ruff format and fix what it can"
	@echo "make clean   remove what the commands above made, $(VENV) included"

setup: $(STAMP)

# A virtual environment that is there and new enough is kept, whoever made it.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || \
	    { echo "error: $(PYTHON) not found: install Python 3.11 or newer, or say make PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "error: $$($(PYTHON) --version) is too old: Gemino needs 3.11 or newer; say make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "error: $(PYTHON) lacks venv: on Debian and Ubuntu, apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The stamp is older than pyproject.toml when the dependencies may have changed.
$(STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -e '.[dev,train]'
	@touch $@

demo: setup
	$(BIN)/gemino demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find gemino signaling tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
