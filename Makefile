# Luthier: each target sets up .venv by itself when it is missing or outdated.
# A fresh machine needs python3 >= 3.11, make and the package registries; npm too for the spam mails.

PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/ready
BENCHMARKS := $(patsubst benchmarks/%.py,benchmarks.%,$(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)))

# Models and data come from packages: whatever would ask a hub at run time fails at once.
export HF_HUB_OFFLINE := 1

.DELETE_ON_ERROR:
.PHONY: help demo test recipes lint bench data models spam clean

help:
	@echo "make demo     run recipes/demo.yaml, a small model on packaged data"
	@echo "make test     all tests but those of the recipes"
	@echo "make recipes  each recipe for two steps; needs make data models"
	@echo "make lint     style, types, layers, sizes"
	@echo "make bench    every benchmark, side by side with its peers"
	@echo "make data     fetch every data set of the recipes into data/"
	@echo "make models   fetch every packaged model into build/models/"
	@echo "make spam     fetch the spam mails alone"
	@echo "make clean    remove caches and build leftovers"

demo: $(READY)
	$(BIN)/luthier train recipes/demo.yaml --overwrite

# One thread a worker: two workers with a thread per core each would get in each other's way.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) -m "not real and not recipes"
	$(BIN)/pytest -q -m real

recipes: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) -m recipes

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/check_layers.py
	$(BIN)/python tools/check_style.py

bench: $(READY)
	@set -e; for module in $(BENCHMARKS); do echo "$$module"; $(BIN)/python -m "$$module"; done

spam: data/spam/spam.csv

data/spam/spam.csv: tools/fetch/spam.py | $(READY)
	$(BIN)/python -m tools.fetch spam

data: $(READY)
	$(BIN)/python -m tools.fetch

# The translation model is no stock class: a plug-in package defines it.
models: $(READY)
	$(BIN)/pip install --quiet --no-deps ./benchmarks/ssru
	$(BIN)/python -m tools.models

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@echo "Setting up .venv (the first time takes some minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq -c constraints.txt -e '.[dev,demo]'
	@touch $@
