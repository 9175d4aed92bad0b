# make demo      the whole story on real weights, about a quarter of an hour on 2 cores
# make test      lint, types, and all tests that take seconds
# make test-all  the same, and the tests that take minutes
# make docs      the documentation site, into site/index.html
#
# On Linux, pip's usual torch brings gigabytes of CUDA libraries; without a GPU, point pip at an
# index with torch's CPU builds (PIP_EXTRA_INDEX_URL) before the first call.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
# Errors are shown; warnings about other people's indexes and caches are not ours to fix. Modules
# are compiled after they are installed, because pip would do it on one core.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

# One thread per worker: two workers with two threads each would wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations=15

.PHONY: demo test test-all lint docs clean

demo: $(VENV)/.installed
	$(BIN)/restor-interp run demo --out $(OUT)

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Each stamp is written last, so that whatever was interrupted is done again. An existing
# environment is completed and never emptied.
$(VENV)/.created:
	@$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'restor-interp needs Python 3.11 or newer, found ' + sys.version.split()[0] + '; use make PYTHON=...')"
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP) -e .
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e ".[dev,docs]"
	@$(COMPILE)
	@touch $@

clean:
	rm -rf $(VENV) build dist site
