# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test lint format bench docs tables clean
.DEFAULT_GOAL := help

help:
	@echo "make setup   a virtual environment in $(VENV) with everything in it (done by the others as needed)"
	@echo "make demo    label handwritten digits from ten examples a class; writes a report"
	@echo "make test    the test suite"
	@echo "make lint    style, types, formatting"
	@echo "make bench   speed beside other libraries and the machine's limits, as ratios"
	@echo "make docs    the documentation, into docs/_build/html"
	@echo "make tables  fill the tables in README and docs from results/"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Aegean needs Python 3.11 or newer; name one with: make setup PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,tensorboard]'
	@touch $@

demo: $(STAMP)
	$(BIN)/aegean demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.run

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

tables: $(STAMP)
	$(BIN)/aegean tables README.md docs

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache docs/_build build
