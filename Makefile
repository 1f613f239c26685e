# Everything a user or CI runs. `make demo` and `make test` need nothing but Python 3.11 before them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Worker processes for the tests; each computes on one thread, so two fill a two-core machine.
JOBS   ?= 2
export OMP_NUM_THREADS ?= 1

.PHONY: install demo test test-full check bench format clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: install
	OMP_NUM_THREADS=2 $(BIN)/hpsbench demo --root demo

test: install
	$(BIN)/python -m pytest -n $(JOBS) -m 'not full' --durations=10 $(PYTEST_ARGS)

test-full: install
	$(BIN)/python -m pytest -n $(JOBS) --durations=20 $(PYTEST_ARGS)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	@for file in benchmarks/bench_*.py; do echo "== $$file"; OMP_NUM_THREADS=2 $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
