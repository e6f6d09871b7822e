# One Makefile, from the project's root. `make help` explains every target.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
RAW ?= $(or $(LAKEOPS_RAW),data_raw)
OUT ?= report.html
METRICS ?= lakeops.prom
BENCH ?=

.DEFAULT_GOAL := help
.PHONY: help env demo incremental load status quality report docs metrics upkeep test-data test crashtest prove drill operations-record bench bench-full holidays commands elementary lint check clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp stands for the installed environment: made again only when what is to be installed changes.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: lakeops needs Python 3.11 or newer; found $$($(PYTHON) --version). Set PYTHON=…" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

env: $(VENV)/.installed ## Make the environment in .venv (others call it when needed)

demo: env ## Land a week of generated data in three loads, run the main job, say what happened
	@$(BIN)/lakeops demo

incremental: env ## The main job: load, build, test, summary   (RAW=data_raw)
	@$(BIN)/lakeops incremental --raw $(RAW)

load: env ## Only load raw files into bronze   (RAW=data_raw)
	@$(BIN)/lakeops load --raw $(RAW)

quality: env ## What is wrong with the data now, since when, and how it moved
	@$(BIN)/lakeops quality

status: env ## What every bronze table holds, and how fresh it is
	@$(BIN)/lakeops status

report: env ## The state of the data as one HTML page   (OUT=report.html)
	@$(BIN)/lakeops report --out $(OUT)

docs: env ## The documentation site: site/index.html, lineage, columns, checks; works offline
	@$(BIN)/lakeops docs --out site

metrics: env ## The state of the data as a Prometheus text file   (METRICS=lakeops.prom)
	@$(BIN)/lakeops metrics --out $(METRICS)

upkeep: env ## What is due on layout, old files, logs and records, and nothing more
	@$(BIN)/lakeops upkeep

test-data: env ## Every data test on every row (the main job tests what is new)
	@$(BIN)/lakeops test-data

test: env ## All tests, on real Delta, DuckDB and dbt
	@$(BIN)/python -m pytest -n 2

crashtest: env ## The long crash test: every change and write, and 500 kills at random (an hour)
	@PYTHONPATH=scripts:tests $(BIN)/python -m integration.crash_long

prove: env ## Incremental = full: 300 drawn sequences, and a build killed everywhere (3 to 6 core hours; goes on where it was stopped)
	@PYTHONPATH=scripts:tests $(BIN)/python -m warehouse.prove

$(VENV)/.installed-bench: $(VENV)/.installed
	@echo "installing dlt into $(VENV) …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@touch $@

bench: env $(VENV)/.installed-bench ## How fast it is, against a yardstick   (BENCH='--only load --compare')
	@$(BIN)/python scripts/bench/bench.py $(BENCH)

bench-full: env $(VENV)/.installed-bench ## The same with 50,000 files, 5 GB in one, 720 days (needs 20 GB of disk)
	@$(BIN)/python scripts/bench/bench.py --full $(BENCH)

drill: env ## Rehearse every disaster on a small lake, and write the table of the README (some minutes)
	@$(BIN)/lakeops drill all --record
	@$(BIN)/python scripts/operations/record.py --tables

operations-record: env ## Type the commands of runbooks/operations.md on a fresh lake, and write what they said (minutes)
	@$(BIN)/python scripts/operations/record.py

holidays: env ## Write dbt/seeds/public_holidays.csv anew, after a new version of its library in pyproject.toml
	@$(BIN)/python scripts/reference/public_holidays.py

commands: env ## Write docs/commands.md anew, after a change of a command or a target
	@$(BIN)/python scripts/reference/commands.py

# Elementary needs networkx 2, we have 3: it gets an environment of its own.
.venv-elementary/.installed: pyproject.toml constraints.txt
	@test -x .venv-elementary/bin/python || $(PYTHON) -m venv .venv-elementary
	@echo "installing Elementary into .venv-elementary …" >&2
	@.venv-elementary/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c <(grep -v '^networkx=' constraints.txt) -e '.[elementary]'
	@touch $@

elementary: env .venv-elementary/.installed ## Elementary's own report, elementary.html; needs dbt's package hub
	@dbt/elementary/make_report $(CURDIR)/.venv-elementary/bin

lint: env ## Style (ruff) and import rules (import-linter)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

check: lint test ## What CI runs: lint, then test

clean: ## Throw away what can be rebuilt: this target's warehouse, dbt's target and logs; readers keep their file
	@warehouse=$${LAKEOPS_WAREHOUSE:-duckdb/warehouse$(addprefix _,$(filter-out dev,$(LAKEOPS_TARGET))).duckdb}; \
	rm -rf "$$warehouse" "$$warehouse.wal" "$$warehouse.tmp" dbt/target dbt/logs
