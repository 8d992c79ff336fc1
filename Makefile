# Each target is a line or two over a tool. `make` alone lists them.
PYTHON ?= python3
PARAMS ?= params.yaml

# `make install` puts uv into .tools where the machine has none.
export PATH := $(CURDIR)/.venv/bin:$(PATH):$(CURDIR)/.tools/bin
UV = command -v uv >/dev/null || { $(PYTHON) -m venv .tools && .tools/bin/pip install --quiet uv; }
# A virtual environment that is active in the shell is not this clone's.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help install data run test lint ui lock audit docs clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/.installed  ## make .venv from the lock

.venv/.installed: uv.lock pyproject.toml
	@$(UV)
	uv sync --frozen --quiet --python "$$(command -v $(PYTHON))"
	@touch $@

run: install  ## data to champion with dvc repro; another task with PARAMS=…
ifeq ($(notdir $(PARAMS)),params.yaml)
	dvc repro --pull $(dir $(PARAMS))dvc.yaml
else
	@test -d data || dvc pull --quiet data.dvc
	python src run --params $(PARAMS)
endif
	@python src status --params $(PARAMS)

data: install  ## bring the sample data out of its DVC remote
	@test -d data || dvc pull --quiet data.dvc

test: data  ## lint, types and every test
	ruff check . && ruff format --check . && mypy && pytest -n auto --dist loadgroup

lint: install  ## format and lint
	ruff format . && ruff check --fix . && mypy

ui: install  ## the MLflow UI on this folder's runs
	mlflow ui --backend-store-uri sqlite:///mlflow.db

lock: install  ## bring uv.lock up to date, and conda.yaml with it
	uv lock && python .ci/conda_yaml.py

audit:  ## ask an index whether faults are known of a locked package
	@$(UV); mkdir -p build
	uv export --frozen --quiet --all-extras --all-groups --no-emit-project --output-file build/audited.txt
	uvx pip-audit@2.9.0 --requirement build/audited.txt --require-hashes --disable-pip --progress-spinner off

docs: install  ## bring the tables of settings and checks, and the schema of settings up to date
	@set -e; for each in settings_table checks_table params_schema; do PYTHONPATH=src python .ci/$$each.py; done

clean:  ## remove what was built, but no run and no data
	rm -rf build examples/*/build .pytest_cache .mypy_cache .ruff_cache
