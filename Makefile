# The two commands of the README: `make quickstart` and `make test`. Each sets up .venv where it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test chaos check clean

# Exact versions: a CPU build of torch, and no CUDA packages. Users on GPUs install without the constraints.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(VENV)/.installed
	$(BIN)/dlfa-sweep --task udpos --profile quickstart

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Every fault of docs/reliability.md, the driver killed at 20 moments among them: far longer than the tests.
chaos: $(VENV)/.installed
	$(BIN)/python -m pytest tests/faults tests/orchestrator tests/test_examples.py -m "chaos or not chaos" --moments 20

# What CI runs beside the tests.
check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) runs build dist *.egg-info
