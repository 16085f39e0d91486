# `make demo` and `make test` need Python 3.11 or newer, git and a package registry; they build .venv on first use.
PYTHON  ?= python3.11
EXTRA   ?= cpu
VENV    := .venv
BIN     := $(CURDIR)/$(VENV)/bin
STAMP   := $(VENV)/.installed
HOST    := 127.0.0.1
UI_PORT ?= 5000
# Each worker of the tests takes one core and 2 GB, and builds the served project once.
WORKERS ?= 2
PREFECT_PORT ?= 4200
LEADING := retrain_text cliperase_calibrated

export PATH := $(BIN):$(PATH)
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: install demo test fast lint types check stages docs ui serve bench bench-forgetting clean help

help:
	@echo "make demo   install, build the corpus, the base model and release r001, print the summary"
	@echo "make test   install and run all tests"
	@echo "make check  lint, types, import contracts and the fast tests: before every commit"
	@echo "make stages write dvc.yaml and releases/*/dvc.yaml anew after a change of what the library imports"
	@echo "make docs   the documentation site, in site/: open site/index.html"
	@echo "make ui     MLflow on http://$(HOST):$(UI_PORT)"
	@echo "make serve  Prefect server and worker on http://$(HOST):$(PREFECT_PORT), with the nightly deployment"
	@echo "make bench  measure the pipeline on this machine and write bench/results/"
	@echo "make bench-forgetting  all methods on all scenarios → docs/benchmark.md and its appendix; hours, resumes"

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$(EXTRA),dev]"
	@touch $@

install: $(STAMP)

demo: $(STAMP)
	dvc repro
	expunge report

test: $(STAMP)
	python -m pytest --numprocesses $(WORKERS) --dist loadfile

fast: $(STAMP)
	python -m pytest --numprocesses $(WORKERS) -m "not slow"

lint: $(STAMP)
	ruff check .
	ruff format --check .
	lint-imports --no-logo

types: $(STAMP)
	mypy

check: lint types fast

stages: $(STAMP)
	expunge stages

docs: $(STAMP)
	typer expunge.cli utils docs --name expunge --title Commands --output docs/reference/commands.md
	zensical build --strict

ui: $(STAMP)
	python -m expunge.lineage.mlflow.server --port $(UI_PORT)

serve: $(STAMP)
	python -m flows.serve --port $(PREFECT_PORT)

bench: $(STAMP)
	python -m bench.pipeline

bench-forgetting: $(STAMP)
	python -m bench.forgetting.run --seeds 0 1 2 --methods $(LEADING)
	python -m bench.forgetting.run --seeds 0 --examine --methods retrain_text
	python -m bench.forgetting.impostors --seeds 0 1 2
	python -m bench.forgetting.exact
	python -m bench.forgetting.epsilon
	python -m bench.forgetting.agreement
	python -m bench.forgetting.run --seeds 0
	python -m bench.forgetting.spread
	python -m bench.forgetting.write

clean:
	rm -rf .expunge build dist *.egg-info
