# Everything that one does with the project. CI runs `make test`, nothing else.
# More arguments: make test ARGS="-k ptp" for pytest, make bench ARGS="--pairs 5 ptp".
# All of tests/kernel under other kernels: make test-kernel ARGS="--whole --limit 7200".
# Another interpreter: make setup PYTHON=python3.12

.DEFAULT_GOAL := help
.PHONY: help setup setup-test setup-kernel demo test test-kernel lint type fix bench docs changelog
export PYTHON

BIN := .venv/bin

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: Debian packages, and the project with its tools into .venv.
	@.ci/setup run

setup-test:
	@.ci/setup test

setup-kernel:
	@.ci/setup kernel

demo: setup ## Attach containers, publish a port, send packets, take all of it back.
	@$(BIN)/python docs/examples/demo.py

test: setup-kernel lint type ## Lint, check the types, run every test, those for other kernels last.
	@$(BIN)/pytest -q $(ARGS)
	@$(BIN)/python tests/lane/run.py --if-possible $(ARGS)

test-kernel: setup-kernel ## Run the tests that need other kernels, under such kernels.
	@$(BIN)/python tests/lane/run.py $(ARGS)

lint: setup ## Check style, import directions, sizes and the changelog's file names.
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/lint-imports --no-logo >.venv/lint-imports.log || { cat .venv/lint-imports.log; exit 1; }
	@$(BIN)/python .ci/sizes.py */src
	@$(BIN)/python .ci/fragments.py $(wildcard changelog.d/*)

type: setup ## Check the types strictly.
	@$(BIN)/mypy

fix: setup ## Repair what can be repaired by itself: formatting, imports.
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format

bench: setup-test ## Time our plugins against Debian's, as whole processes.
	@$(BIN)/python tests/benchmarks/run.py $(ARGS)

docs: setup ## Write the configuration reference from the plugins' models.
	@$(BIN)/python docs/generate.py

changelog: setup ## Show what the fragments make of the next release's section of CHANGELOG.md.
	@$(BIN)/towncrier build --draft --version next
