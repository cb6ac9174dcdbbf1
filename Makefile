# Every target works in a fresh clone: it needs make and Python 3.11 or newer, and creates .venv when it is missing.
# Pass another interpreter as PYTHON=python3.12, and further arguments to a command as ARGS="...".

PYTHON ?= python3
WORKERS ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UNFINISHED := $(VENV)/.unfinished
WHEEL := build/wheel-check

# Compiled files are kept: every process of a test that starts several reads them, and the next target does.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo mixture test test-slow thorough lint types tables statements docs bench-quick wheel-check format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## learn digits in about two minutes, sample in 1, 2, 4 and 8 steps: table and figure under runs/demo
	$(BIN)/python -m experiments.digits_lsd --out runs/demo --resume $(ARGS)

mixture: $(INSTALLED)  ## exact field and flow map of a Gaussian mixture: table and figure under runs/mixture
	$(BIN)/python -m experiments.gaussian_mixture --out runs/mixture $(ARGS)

test: $(INSTALLED)  ## the tests and theory checks, quick profile, but for what compiles, starts processes or walks a whole recipe
	$(PYTEST) -m "not slow" tests theory_checks $(ARGS)

test-slow: $(INSTALLED)  ## the tests that compile, start processes, kill one or walk a whole recipe, and slow checks that draw nothing
	$(PYTEST) -m "slow and not drawn" tests theory_checks $(ARGS)

thorough: $(INSTALLED)  ## the theory checks that draw examples, with several times as many as in the quick profile
	$(PYTEST) -m drawn theory_checks --profile thorough $(ARGS)

lint: $(INSTALLED)  ## ruff: rules and format
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: $(INSTALLED)  ## mypy over the library, the tests, the theory checks and the experiments
	$(BIN)/python -m mypy

tables: $(INSTALLED)  ## write the tables of the methods into the README and the documentation
	$(BIN)/python docs/tables.py

statements: $(INSTALLED)  ## run the theory checks, write what each found into the table of statements in the documentation
	$(PYTEST) -p theory_checks.record theory_checks --record experiments/results/statements.json $(ARGS)
	$(BIN)/python docs/tables.py

docs: $(INSTALLED)  ## the documentation with its examples executed, warnings are errors
	$(BIN)/python docs/tables.py --check
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

bench-quick: $(INSTALLED)  ## time ratios of steps, solves and start-up against the committed ones; ARGS=--write adds a run
	OMP_NUM_THREADS=1 GOMP_SPINCOUNT=0 $(BIN)/python -W ignore::FutureWarning -m experiments.benchmarks.quick $(ARGS)

# The environment of the wheel is large (torch): it is removed whether the check passes or fails.
wheel-check: $(INSTALLED)  ## build the wheel and import it in a clean environment with the core dependencies only
	rm -rf $(WHEEL)
	$(BIN)/python -m build --outdir $(WHEEL) .
	@trap 'rm -rf $(WHEEL)/venv' EXIT; trap 'exit 1' INT TERM; set -e; \
	  $(BIN)/python -m venv $(WHEEL)/venv; \
	  $(WHEEL)/venv/bin/python -m pip install --quiet $(WHEEL)/*.whl; \
	  $(WHEEL)/venv/bin/python -m pip check; \
	  $(WHEEL)/venv/bin/python -I .ci/check_wheel.py

format: $(INSTALLED)  ## rewrite the sources in the house format
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean:  ## remove what the other targets generate, except .venv and runs/
	rm -rf build dist docs/_build docs/_examples .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The stamp is written last. An installation that was interrupted leaves the mark UNFINISHED, and the next one starts
# from an empty environment; a change of pyproject.toml only installs again.
$(INSTALLED): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo 'flowops needs Python 3.11 or newer, and there is no $(PYTHON); install it or pass PYTHON=/path/to/python3.' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "flowops needs Python 3.11 or newer, and $(PYTHON) is Python %d.%d; pass a newer one as PYTHON=/path/to/python3." % sys.version_info[:2])'
	@if [ -e $(UNFINISHED) ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  echo 'creating $(VENV)'; $(PYTHON) -m venv --clear $(VENV); fi
	@touch $(UNFINISHED)
	@echo 'installing flowops and its dependencies in $(VENV); the first time takes some minutes'
	$(BIN)/python -m pip install --quiet --editable '.[test,docs]'
	@rm $(UNFINISHED)
	@touch $@
