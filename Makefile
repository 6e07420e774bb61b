# `make help` lists the targets. On the command line: PYTHON, PIP_ARGS, HOST, PORT, REPOSITORY (docs/install.md).
.DEFAULT_GOAL := help
PYTHON ?=
PIP_ARGS ?=
HOST := 127.0.0.1
PORT := 8000
REPOSITORY := model_repository
export PYTHON PIP_ARGS

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: serve
serve: .venv-serve/.made ## serve the starter models on http://127.0.0.1:8000 (HOST, PORT, REPOSITORY); no torch needed
	@exec .venv-serve/bin/nalu serve --host $(HOST) --port $(PORT) --repository $(REPOSITORY)

.PHONY: train
train: .venv/.made ## set up .venv with what training needs, and tell its commands
	@.venv/bin/nalu train --help

.PHONY: test
test: .venv/.made ## set up everything, then check, try the wheel and test: all that continuous integration runs
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check wheel
	@.venv/bin/python deploy/check-metrics
	@.ci/test

.PHONY: check
check: .venv/.made ## lint, formatting, types, import contracts, Dockerfile and compose file
	@.ci/check

.PHONY: format
format: .venv/.made ## put the code into the house's format
	@.venv/bin/ruff check --quiet --fix-only .
	@.venv/bin/ruff format --quiet . deploy/check-containers deploy/check-metrics

.PHONY: wheel
wheel: .venv/.made ## build the wheel, inspect it, install and use it from another folder
	@.ci/wheel

.PHONY: containers
containers: ## build the images and try the composition for real (needs Docker with compose)
	@deploy/check-containers

.PHONY: metrics
metrics: .venv/.made ## try dashboard and alerts on a real Prometheus (skipped where there is none)
	@.venv/bin/python deploy/check-metrics

.PHONY: clean
clean: ## remove the environments and whatever was built
	rm -rf .venv .venv-serve build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

.venv/.made: pyproject.toml constraints.txt .ci/environment
	@.ci/environment .venv dev

.venv-serve/.made: pyproject.toml constraints.txt .ci/environment
	@.ci/environment .venv-serve serve
