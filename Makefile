# make demo   the whole story on real weights, about a quarter of an hour on 2 cores
# make test   lint, types and tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/demo

.PHONY: demo test test-all lint clean

demo: $(VENV)/.installed
	$(BIN)/restor-interp run demo --out $(OUT)

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -m "not slow" --durations=15

test-all: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest --durations=15

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'restor-interp needs Python 3.11 or newer; use make PYTHON=...')"
	$(PYTHON) -m venv $(VENV)

# torch goes first and pinned: an unpinned torch would bring gigabytes of CUDA libraries.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist
