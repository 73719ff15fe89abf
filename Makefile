# Everything runs in ./.venv, made on first use from Python >= 3.11 and the package registry alone.
PYTHON ?= python3
FAISS  ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
BIN    := .venv/bin
STAMP  := .venv/.installed-$(FAISS)

.PHONY: demo test test-slow goldens check bench docs install

demo: $(STAMP)  ## run the quickstart suite, say where the report is, and decide
	$(BIN)/harness run suites/quickstart.toml --offline
	$(BIN)/harness decide suites/quickstart.toml --offline

# A worker more than cores, since some wait, each of one thread and about 1.5 GB; what they start
# compiles nothing again.
WORKERS = $(shell $(PYTHON) -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))')
test: $(STAMP)  ## the tests that every change must pass
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

test-slow: $(STAMP)  ## the tests that take minutes
	$(BIN)/python -m pytest -q -m slow

goldens: $(STAMP)  ## what three suites find, against what is frozen: for a change of structure
	$(BIN)/python tests/goldens/freeze.py check

check: $(STAMP)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)  ## measure against named peers, in the same run
	$(BIN)/python benchmarks/bench.py

docs: $(STAMP)  ## the reference of the suite file, from its tables
	$(BIN)/python -m harness.suite.schema > docs/suite.md
	$(BIN)/harness schema > docs/suite.schema.json

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(FAISS),quickstart,dev]'
	rm -f .venv/.installed-*
	touch $@
