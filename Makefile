# One command each: `make demo` runs the main job, `make test` checks everything. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test ui docs format clean

demo: $(STAMP)
	$(BIN)/perturbhouse demo

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m schemas.data_dictionary docs/tables --check
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

ui: $(STAMP)
	$(BIN)/perturbhouse ui

docs: $(STAMP)
	$(BIN)/python -m schemas.data_dictionary docs/tables

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

# Installed once; again when the dependencies change.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Perturbhouse needs Python 3.11 or newer; name one with: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)
