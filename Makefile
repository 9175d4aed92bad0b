# make demo      the whole story on real weights, about a quarter of an hour on 2 cores
# make test      lint, types, and all tests that take seconds
# make test-all  the same, and the tests that take minutes
#
# On Linux, pip's usual torch brings gigabytes of CUDA libraries. Without a GPU, spare them with
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
# Errors are shown; warnings about other people's indexes and caches are not ours to fix.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all lint clean

demo: $(VENV)/.installed
	$(BIN)/restor-interp run demo --out $(OUT)

test: lint
	$(BIN)/python -m pytest -m "not slow" --durations=15

test-all: lint
	$(BIN)/python -m pytest --durations=15

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
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist
