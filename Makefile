# Every target does the set-up it needs. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
export PYTHONUNBUFFERED := 1
export OMP_WAIT_POLICY := PASSIVE

.PHONY: help setup lock demo test lint clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-22s %s\n", $$1, $$2}'

setup: .venv/.ready ## virtual environment, locked dependencies, torch for this machine
.venv/.ready: requirements/dev.txt pyproject.toml scripts/install_torch.sh
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --no-config --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --no-config --quiet --python $(BIN)/python --no-deps --editable .
	scripts/install_torch.sh
	@touch $@

lock: ## re-resolve requirements/*.txt
	scripts/lock.sh

demo: setup ## the main job through the real API, start to report, in about four minutes
	$(BIN)/rlaif demo --output demo-output

test: setup ## every test
	$(BIN)/pytest

lint: setup ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean: ## remove the virtual environment and what the demo left
	rm -rf .venv demo-output rlaif-data
