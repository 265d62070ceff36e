# Everything happens in a project-local environment; nothing outside this folder and the asset cache is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Named before everything that depends on it, so that no other build of it is chosen along the way.
TORCH ?= torch==2.13.0

.PHONY: demo test test-all browser lint bench clean

demo: $(READY)
	$(BIN)/bitface demo $(DEMO)

# Two processes of one thread each: threads of one process would only wait for each other on small tensors.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test: $(READY)
	$(PYTEST) -m "not slow" $(TESTS)

test-all: $(READY)
	$(PYTEST) $(TESTS)

# Debian's Chromium looks at every page; /usr/bin/chromium has to be there (apt-get install chromium).
browser: $(READY)
	$(BIN)/pip install --quiet playwright axe-playwright-python
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser -rs tests/browser

lint: $(READY)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/pip install --quiet nncf
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/speed.py

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "bitface needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) out build
