# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Each makes the virtual environment, installs what it needs, and is quick the second time.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt
DEMO   ?= demo

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit bench serve fmt clean

help: ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.generate ## Generate, mark, sign, register, attack, find again; writes demo/index.html
	$(BIN)/countermark demo -o $(DEMO)

test: lint unit ## All set-up, then lint, types, import contracts and tests

lint: $(VENV)/.dev ## Style, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.dev ## Tests alone
	$(BIN)/pytest -n 2 --dist loadfile

bench: $(VENV)/.dev ## Benchmarks; results go to docs/benchmarks
	$(BIN)/python -m benchmarks

serve: $(VENV)/.generate ## Serve the HTTP API on 127.0.0.1:8765
	$(BIN)/countermark serve

fmt: $(VENV)/.dev ## Rewrite the code in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove what these targets made
	rm -rf $(VENV) $(DEMO) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A stamp for each extra: installed again only when the project's needs change.
$(VENV)/.generate: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[generate]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.generate
