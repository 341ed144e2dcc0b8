# From nothing to a trained listener: `make quickstart`. For work on the code: `make setup`, then `make check test`.
# PYTHON chooses the interpreter (3.11 or newer), VENV where its packages go.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Exact versions: a range such as torch>=2.11 with nothing installed may pull another build than the one that was tested.
INSTALL := $(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: setup quickstart test check bench

setup: $(VENV)/.dev

quickstart: $(VENV)/.runtime
	$(BIN)/auscult run quickstart
	@echo "source $(BIN)/activate, and auscult is found"

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest tests/test_layers.py

# One JSON line for each benchmark.
bench: $(VENV)/.dev
	@for file in $(sort $(wildcard benchmarks/*.py)); do $(BIN)/python $$file || exit 1; done

# A stamp says with which pyproject.toml and constraints.txt the packages were installed; either one changed: again.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.runtime

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("auscult needs Python 3.11 or newer, this is " \
		+ sys.version.split()[0] + ": say which, as in make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
