# `make study` and `make test` need Python 3.11 or newer, git and a package index; see README.md.
PYTHON ?= python3
BIN := .venv/bin
export MALLOC_MMAP_THRESHOLD_ ?= 1073741824
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296

.PHONY: help env study results sweep paper verify-results book notebooks test check format lock upgrade bench check-processors check-throughput check-faults check-determinism check-clean fuzz mutation coverage clean

help:  ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python

.venv/.study: requirements.lock pyproject.toml
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint requirements.lock uv
	$(INSTALL) --constraint requirements.lock --editable '.[book,features]'
	touch $@

.venv/.complete: .venv/.study
	$(INSTALL) -r requirements.lock
	touch $@

env: .venv/.complete  ## Make the virtual environment .venv from the lock file

BOOK := $(BIN)/jupyter-book build book -W -n --keep-going --quiet
study: .venv/.study  ## Run the main job, build the book, print your table beside the published one
	$(BIN)/python scripts/sweep.py config/study.yaml
	$(BOOK)
	$(BIN)/python -m study.chapters.your_run

# Settings that others are made of, then what decides the claims, then everything else.
FIRST := config/rules_tuning.yaml config/rules_tuning_slow.yaml config/claims.yaml
CONFIGS ?= $(FIRST) $(filter-out $(FIRST),$(wildcard config/*.yaml))
results: env  ## Run every sweep under config/, or those of CONFIGS, and publish their tables in results
	$(BIN)/python scripts/sweep.py --publish $(CONFIGS)

CONFIG ?= config/main.yaml
sweep: env  ## Run one sweep, or take it up where it was stopped: make sweep CONFIG=config/main.yaml
	$(BIN)/python scripts/sweep.py $(CONFIG)

paper: env  ## Run the paper's own experiments on what is here of their data, and set its figures beside yours
	$(BIN)/python -m scripts.paper

verify-results: env  ## Say which rows of the tables are stale, and run a tenth of the quick ones and one in fifty of the others again
	$(BIN)/python scripts/verify_results.py $(wildcard config/*.yaml)

EXECUTED := $(patsubst notebooks/%,book/_build/notebooks/%,$(wildcard notebooks/*.ipynb))
book: .venv/.study  ## Execute the chapters and build the book; prints the path of its first page
	rm -rf book/_build/notebooks
	$(MAKE) --jobs 2 $(EXECUTED)
	SDC_NOTEBOOKS=book/_build/notebooks $(BOOK)

book/_build/notebooks/%.ipynb: notebooks/%.ipynb
	@mkdir -p $(@D)
	$(BIN)/papermill $< $@ --cwd notebooks --no-progress-bar

WORKERS := --numprocesses auto --maxprocesses 4 --dist loadscope
test: env  ## Run all tests and the notebooks
	$(BIN)/python -m pytest $(WORKERS)
	$(BIN)/python -m pytest $(WORKERS) --nbval notebooks

check: env  ## Lint, format check, type check, direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: env  ## Execute the notebooks in place, so that they are committed with outputs
	$(BIN)/python scripts/execute_notebooks.py

format: env  ## Format code and notebooks
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

EXTRAS := book features parquet slurm test dev# not sscd, whose package is to be asked for because of its licence
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 $(EXTRAS:%=--extra %) --no-emit-index-url \
	--custom-compile-command "make lock" pyproject.toml -o requirements.lock
lock: env  ## Solve requirements.lock again from pyproject.toml; what is locked and still fits stays
	$(LOCK)

upgrade: env  ## Solve requirements.lock again, with the newest versions
	$(LOCK) --upgrade

BENCHED := metrics backbones training neighbours encoding search scale gpu bytes
bench: env  ## Time metrics, backbones, training, encoding, scale and (with SDC_DATA) searches; writes results/bench_*.json
	set -e; for part in $(BENCHED); do $(BIN)/python -m benchmarks.bench_$$part; done

check-processors: env  ## Run the main job, the tests and the notebooks with the kernels of other processors (an hour)
	$(BIN)/python -m benchmarks.check_processors

check-throughput: env  ## Time a sweep with one and with two jobs at a time (minutes, nothing beside it)
	$(BIN)/python -m benchmarks.check_throughput

check-faults: env  ## Kill extraction, training, sweep and collection 60 times; nothing may be lost or wrong (15 minutes)
	$(BIN)/python -m benchmarks.check_faults

check-determinism: env  ## Fit every method twice, and on two threads; compare the codes (10 minutes)
	$(BIN)/python -m benchmarks.check_determinism

check-clean:  ## Clone into an empty folder and, with an empty home, make study and test with PYTHON (15 minutes)
	$(PYTHON) -m benchmarks.check_clean

EXAMPLES ?= 5000
fuzz: env  ## Give all readers EXAMPLES damaged files for every test, others each time (20 minutes)
	SDC_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest $(WORKERS) $(shell grep -l "^from tests.fuzzing" tests/test_*.py)

mutation: env  ## Mutation testing of losses, calibration and metrics (ten minutes on two cores)
	$(BIN)/python scripts/mutation.py

coverage: env  ## Coverage of sdclib and study by lines and branches, with all tests (20 minutes)
	$(BIN)/python -m pytest $(WORKERS) --cov sdclib --cov study --cov-branch --cov-report term --cov-fail-under 95

clean:  ## Delete the built book and all run records
	rm -rf book/_build book/api book/*.ipynb results/local .snakemake
