# Two commands do everything on a fresh machine with Python, git and make: `make repro` and `make test`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROFILE ?=
DATASET ?=
ACCEPT ?=
FILE ?=
PORT ?=
# Files that share a run project stay in one process (xdist_group), and so does each other file. In the order of the
# files, because the long ones come first.
PARALLEL := -n auto --dist loadgroup --no-loadscope-reorder

# Where images switch bytecode off, each stage would compile torch and MLflow anew: ten seconds more at each start.
unexport PYTHONDONTWRITEBYTECODE

# The interpreter of the environment first, so that DVC's stages use it; nothing calls home.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export GX_ANALYTICS_ENABLED := false
# DVC's own place for its pickled notes is open to all users of the machine.
export DVC_SITE_CACHE_DIR ?= $(CURDIR)/.dvc-site
# This machine's names alone: by default MLflow also takes requests to hosts such as 10.example.com.
export MLFLOW_SERVER_ALLOWED_HOSTS := 127.0.0.1:*,localhost:*
export PREFECT_HOME := $(CURDIR)/.prefect

.PHONY: help setup fetch-data repro test check lint coverage bench profile ui serve-flows lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## make .venv and install the locked versions

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; assert (3, 11) <= v < (3, 13), f"Python 3.11 or 3.12 is needed, this is {v}; use make PYTHON=python3.12"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# A downloaded archive has no git, which DVC must be told; and told otherwise once it has.
.PHONY: scm
scm: setup
	@if git rev-parse --git-dir >/dev/null 2>&1; then ! grep -qs no_scm .dvc/config.local || dvc config --local --unset core.no_scm; \
	else dvc config --local core.no_scm true; fi

fetch-data: scm ## list the public datasets, or get one (DATASET=pku_pcb ACCEPT=yes FILE=archive)
	test -d data/synlcd || dvc pull data/synlcd
	cadnet fetch-data $(DATASET) $(if $(filter yes,$(ACCEPT)),--accept-licence) $(if $(FILE),--file "$(FILE)")

repro: scm ## all that has changed: data, training, evaluation, report (PROFILE=name switches params first)
	@$(if $(PROFILE),python -m pipelines.profile $(PROFILE),true)
	test -d data/synlcd || dvc pull data/synlcd
	python -m pipelines.flows.experiment
	@echo "report: reports/index.html    runs: make ui"

test: lint ## lint, types, import contracts and the whole test suite
	pytest $(PARALLEL)

check: lint ## lint, types, import contracts and the fast tests
	pytest $(PARALLEL) -m "not slow"

lint: setup
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo

coverage: setup ## test suite with coverage of cadnet/
	pytest $(PARALLEL) --cov --cov-report=term-missing:skip-covered --cov-fail-under=90

bench: setup ## measure synthesis, training, evaluation, alignment and validation
	python -m bench.synthesis && python -m bench.training && python -m bench.alignment && python -m bench.validation \
	&& python -m bench.bootstrap && python -m bench.evaluation && python -m bench.fuzz

profile: setup ## switch params.yaml to params/$(PROFILE).yaml
	python -m pipelines.profile $(PROFILE)

ui: setup ## MLflow's page on http://127.0.0.1:5000
	mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} --host 127.0.0.1

serve-flows: setup ## Prefect's server and worker on http://127.0.0.1:4200 (PORT=number): retraining every night
	@python -m pipelines.flows.serve $(if $(PORT),--port $(PORT))

lock: setup ## resolve requirements.lock again
	uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate pyproject.toml \
		--extra dev --constraint constraints.txt --output-file requirements.lock

clean: ## remove what runs made, but not .venv
	rm -rf datasets models candidates cache checkpoints mlartifacts mlflow.db* .prefect
