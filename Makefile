# Every target does the set-up it needs. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
TEST_WORKERS ?= 2
BIN := .venv/bin
export PYTHONUNBUFFERED := 1
export OMP_WAIT_POLICY := PASSIVE
# Many processes start here; without stored bytecode each of them would compile everything it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup lock demo test soak bench-judging bench-judge-throughput bench-methods bench-pipeline bench-sampling bench-training bench-reward-model lint drift clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-22s %s\n", $$1, $$2}'

setup: .venv/.ready ## virtual environment, locked dependencies, torch for this machine
.venv/.ready: requirements/dev.txt requirements/build.txt pyproject.toml scripts/install.sh scripts/install_torch.sh
	PYTHON=$(PYTHON) scripts/install.sh dev
	@touch $@

lock: ## re-resolve requirements/*.txt
	scripts/lock.sh

demo: setup ## the main job through the real API, start to report, in a few minutes
	$(BIN)/rlaif demo --output demo-output

test: setup ## every test
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile

openapi: setup ## write the OpenAPI document that the contract tests hold the API to
	$(BIN)/python -m tests.contracts.openapi --write

soak: setup ## the full-size fault runs: 10,000 shards, 200 kills
	$(BIN)/pytest -m soak --timeout=14400

bench-judging: setup ## judges and panels against public human labels (../shared/data, or DATA=DIR)
	$(BIN)/python -m benchmarks.judging $(if $(DATA),--data $(DATA))

bench-judge-throughput: setup ## the judge stage beside distilabel and an ideal client (ARGS="--quick", ARGS="--only heavy")
	$(BIN)/python -m benchmarks.judge_throughput $(ARGS)

bench-training: setup ## DPO against TRL's in CPU seconds a pair (ARGS="--shapes tiny", ARGS="--device cuda")
	$(BIN)/python -m benchmarks.training $(ARGS)

bench-sampling: setup ## sampled tokens a second beside generate, continuous batching and vLLM (ARGS="--shapes tiny")
	$(BIN)/python -m benchmarks.sampling $(ARGS)

bench-pipeline: setup ## the demo's run beside the same stages written by hand on TRL (ARGS="--prompts 24" to see that it works)
	$(BIN)/python -m benchmarks.pipeline $(ARGS)

bench-methods: setup ## every policy method end to end on the examples (ARGS="--only grpo")
	$(BIN)/python -m benchmarks.methods $(ARGS)

bench-reward-model: setup ## a reward model on people's choices (../shared/data, or DATA=DIR)
	$(BIN)/python -m benchmarks.reward_model $(if $(DATA),--data $(DATA))

lint: setup ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

drift: setup ## models and migrations must agree
	$(BIN)/python scripts/migration_drift.py

clean: ## remove the virtual environment and what the demo left
	rm -rf .venv demo-output rlaif-data
