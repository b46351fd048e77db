# wharfd: `make run` starts it, `make test` proves it. Nothing is needed but Python ≥ 3.11, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help install run test lint types wheel check bench faults soak docs clean

help: ## show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

install: $(INSTALLED) ## make .venv and install wharfd into it, editable

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "wharfd needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	@echo "installing wharfd and what it needs into $(VENV) (once)"
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --root-user-action=ignore -e '.[dev]'
	@touch $@

run: $(INSTALLED) ## start the daemon in the foreground, state in ./.wharfd
	@exec $(BIN)/wharfd run --config config/try.toml --state-dir .wharfd

test: $(INSTALLED) ## run the whole suite
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

lint: $(INSTALLED) ## check style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(INSTALLED) ## check types, strictly
	@$(BIN)/mypy daemon plugins

wheel: $(INSTALLED) ## build the wheel and compare it with the tree
	@$(BIN)/python -m pytest -q tests/rules/test_wheel.py

check: lint types test ## everything a change must pass

faults: $(INSTALLED) ## break things under load, count what was lost; about 20 minutes
	@$(BIN)/python -m faults run all --lanes 3 $(ARGS)
	@WHARFD_FAULTS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m faults

soak: $(INSTALLED) ## break random things for HOURS (8), stop at the first broken promise
	@$(BIN)/python -m faults soak --hours $(or $(HOURS),8) $(ARGS)

bench: $(INSTALLED) ## measure, beside others, on this machine; about 15 minutes
	@$(BIN)/python -m bench $(ARGS)

docs: $(INSTALLED) ## write the generated pages and example.toml anew
	@$(BIN)/wharfd docs --write

clean: ## remove what was built; keeps .wharfd
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
