# Everything happens in a project-local environment; nothing outside this folder and the asset cache is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Named before everything that depends on it, so that no other build of it is chosen along the way.
TORCH ?= torch==2.13.0
# The package index has torch 2.9 for x86-64 Linux with CUDA only, some 3 GB: `make test-oldest OLDEST_TORCH=torch==2.9.1`
# takes it; else torch stays at the pinned one while everything else is as old as may be.
OLDEST_TORCH ?= $(TORCH)

.PHONY: demo test test-slow test-all test-oldest test-pythons journeys browser arm native machines wheel audit fuzz chaos soak lint docs bench clean

demo: $(READY)
	$(BIN)/bitface demo $(DEMO)
	@echo
	@echo "The program of this environment: $(CURDIR)/$(BIN)/bitface"
	@echo "To call it as bitface in this shell: . $(BIN)/activate"
	@echo "Then, with the demo's own faces: docs/tutorial.md"

# Two processes of one thread each: threads of one process would only wait for each other on small tensors.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test: $(READY)
	$(PYTEST) -m "not slow" $(TESTS)

# What takes more than some seconds; browsers, other Pythons and the guides have targets of their own.
test-slow: $(READY)
	$(PYTEST) -m "slow and not browser and not pythons and not journeys" $(TESTS)

test-all: $(READY)
	$(PYTEST) $(TESTS)

# The lowest versions that pyproject.toml allows, in an environment of their own; none of them newer than it has to be.
OLDEST := build/oldest
test-oldest:
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/pip install --quiet uv $(OLDEST_TORCH)
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	$(OLDEST)/bin/uv pip list --python $(OLDEST)/bin/python
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -n 2 -m "not slow" $(TESTS)

# The wheel with what a device needs, in fresh environments of Python 3.11, 3.12 and 3.13; what isn't installed is said.
test-pythons: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs tests/pythons

# The twelve guides, each by its commands, from the wheel in a fresh environment.
journeys: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs tests/journeys

# Debian's Chromium looks at every page, the site's too; /usr/bin/chromium has to be there (apt-get install chromium).
browser: $(READY)
	$(BIN)/pip install --quiet playwright axe-playwright-python --editable '.[docs]'
	OMP_NUM_THREADS=1 BITFACE_SCREENSHOTS=$(SCREENSHOTS) $(BIN)/python -m pytest -m browser -rs tests/browser

# ncnn's aarch64 build under qemu beside x86's, where qemu-user-static is there (apt-get install qemu-user-static).
arm: $(READY)
	$(BIN)/python benchmarks/arm.py $(ARM)

# Networks as C on this CPU: how fast and how large.
native: $(READY)
	$(BIN)/python benchmarks/native.py $(NATIVE)
	$(BIN)/python benchmarks/roofline.py

# Networks as C, bit for bit, on every machine that can be emulated here; the packages that are missing are said
# (apt-get install gcc-aarch64-linux-gnu gcc-arm-linux-gnueabihf gcc-riscv64-linux-gnu clang qemu-user-static
# gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm).
machines: $(READY)
	$(BIN)/python benchmarks/machines.py $(MACHINES)

# The same bytes from the same commit, with a bill of materials in them.
wheel: $(READY)
	$(BIN)/python release/wheel.py $(WHEEL)

# Known faults of what is installed here. It asks the index's own service, which mirrors seldom have: one that isn't
# there makes this fail, as nothing is known then.
audit: $(READY)
	$(BIN)/pip install --quiet pip-audit
	$(BIN)/pip-audit --strict --local --skip-editable

# Damaged files of every kind for so many minutes.
MINUTES ?= 30
fuzz: $(READY)
	nice $(BIN)/python benchmarks/fuzz.py --minutes $(MINUTES) $(FUZZ)

# Every command that writes, killed at every change of a file, with a full disk, and whatever else may be wrong.
chaos: $(READY)
	nice $(BIN)/python benchmarks/chaos.py $(CHAOS)

# A hundred thousand embeddings: memory, threads, forks.
soak: $(READY)
	nice $(BIN)/python benchmarks/soak.py $(SOAK)

lint: $(READY)
	$(BIN)/ruff check src tests benchmarks release docs/site
	$(BIN)/ruff format --check src tests benchmarks release docs/site
	$(BIN)/mypy

# The site, from docs/ alone: every link has to lead somewhere, and nothing is fetched but the packages.
docs: $(READY)
	$(BIN)/pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

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
