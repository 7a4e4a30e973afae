# One word for each thing; the first use of any of them sets up .venv, later uses cost nothing.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PLUGINS := $(patsubst %/pyproject.toml,-e ./%,$(wildcard plugins/*/pyproject.toml))
DISTRIBUTIONS := -e ./export -e ".[dev]" $(PLUGINS)

.PHONY: help install demo transfer-demo starter test test-all battery notebook test-real bench bench-choices bench-serve bench-starter lint format clean

help:           ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/  —/'

install: $(INSTALLED)  ## Create .venv with everything, in the pinned versions.

$(INSTALLED): pyproject.toml export/pyproject.toml $(wildcard plugins/*/pyproject.toml) constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || \
		{ echo "Python 3.11.4 or newer is needed; name one with: make PYTHON=python3.12 install" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check $(DISTRIBUTIONS)
	@touch $@

demo: install   ## Fine-tune on the drawn dog breeds, export, verify, and classify a picture with the exported file.
	$(BIN)/finetune run --plugin dogbreeds --out runs/demo
	@run=$$(ls -td runs/demo/*/ | head -1) && \
	picture=$$(grep '^valid' "$${run}split.csv" | tail -1 | cut -d, -f3) && \
	echo "\n$(BIN)/finetune predict $${run}model.onnx $$picture --top 3" && \
	$(BIN)/finetune predict "$${run}model.onnx" "$$picture" --top 3

transfer-demo: install  ## Measure what transferring is worth, by pictures per breed: tables and a plot. About ten minutes.
	$(BIN)/python tests/bench/transfer_demo.py

starter: install  ## Pretrain the weights of plugins/finetune-starter again, and compare. About ten minutes.
	$(BIN)/finetune pretrain --plugin dogbreeds --source kinds --licence Apache-2.0 --out runs/starter
	cmp plugins/finetune-starter/finetune_starter/starter.safetensors $$(ls -td runs/starter/*/ | head -1)pretrained.safetensors

test: install   ## Run the test suite, on two cores.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-all: install  ## Run the test suite with the slow tests.
	$(BIN)/python -m pytest -m "not real_data"

battery: install  ## Kill, stop and starve real runs until they have survived it all. About ten minutes.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or not slow" tests/finetune/resume tests/finetune/training/test_checkpoints_crashes.py

notebook: install  ## Run the notebook from top to bottom.
	$(BIN)/python -m pytest -m "slow or not slow" tests/test_notebook.py

test-real: install  ## Run the tests on real photos; needs FINETUNE_REAL_DATA.
	$(BIN)/python -m pytest -m real_data

bench: install  ## Measure against plain fastai and plain PyTorch on real photos; needs FINETUNE_REAL_DATA. About two hours.
	$(BIN)/python tests/bench/transfer.py

bench-choices: install  ## Measure what calibration, averages and imbalance options are worth; needs FINETUNE_REAL_DATA. About 15 minutes.
	$(BIN)/python tests/bench/choices.py

bench-serve: install  ## Measure the service under load, its faults and its rivals; needs FINETUNE_REAL_DATA. About 35 minutes.
	$(BIN)/python tests/bench_serve

bench-starter: install  ## Measure the starter's weights on real photos; needs FINETUNE_REAL_DATA. About ten minutes.
	$(BIN)/python tests/bench/starter.py

lint: install   ## Check style, formatting and types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: install  ## Put every file into the house style.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:          ## Remove .venv and everything that was built; runs stay.
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
