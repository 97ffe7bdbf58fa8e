# The two commands:  make demo   and   make test.   `make help` lists the rest.

PYTHON ?= python3
# Build of torch: cpu, or a CUDA build named as on https://download.pytorch.org/whl (for example TORCH=cu128).
TORCH  ?= cpu
VENV   ?= .venv
# Where the demo leaves its run directories and its report.
DEMO   ?= runs/demo
# Bundle that `make soak` torments, and where it leaves its results.
BUNDLE ?= runs/bundle
SOAK   ?= runs/soak
# Further options of `score demo`, for example OPTIONS="--robot-seed 4".
OPTIONS ?=
# Of the order of `make strange`, and of Python's hashes.
SEED   ?= 3

TORCH_VERSION := 2.13.0
TORCH_INDEX   := https://download.pytorch.org/whl/$(TORCH)
ifeq ($(shell uname -s),Darwin)
TORCH_PIN := torch==$(TORCH_VERSION)
else
# The build is part of the pin, so that an unreachable index ends in an error instead of gigabytes of CUDA.
TORCH_PIN := torch==$(TORCH_VERSION)+$(TORCH)
endif

PIP   := $(VENV)/bin/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready-$(TORCH)

.DEFAULT_GOAL := help
.PHONY: help demo test strange soak lint format clean

help: ## List the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

demo: $(READY) ## The whole loop on Pinch Cube: collect, pretrain, calibrate, steer, evaluate, report
	$(VENV)/bin/score demo --out $(DEMO) $(OPTIONS)

test: $(READY) ## Run the tests, a file at a time on each of up to four cores
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile

strange: $(READY) ## The fast tests in another order, on another clock, with hardly any environment and a narrow terminal
	env -i PATH="$$PATH" TMPDIR="$${TMPDIR:-/tmp}" HOME=/dev/null LC_ALL=C COLUMNS=40 PYTHONHASHSEED=$(SEED) \
	  $(VENV)/bin/python -m pytest -m 'not slow and not soak' -p randomly -p no:cacheprovider \
	  --randomly-seed=$(SEED) --clock-shift=33554432.7

soak: $(READY) ## Kills, floods, hostile messages and an hour of driving; takes hours (BUNDLE=runs/bundle)
	$(VENV)/bin/python -m pytest -m soak tests/soak
	$(VENV)/bin/python tests/soak/resume.py --runs $(SOAK)/resume --result $(SOAK)/resume.json
	$(VENV)/bin/python tests/soak/reliability_server.py --bundle $(BUNDLE) --logs $(SOAK)/server --result $(SOAK)/server.json
	$(VENV)/bin/python tests/soak/reliability_runtime.py --bundle $(BUNDLE) --result $(SOAK)/runtime.json

lint: $(READY) ## Check style
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(READY) ## Format and fix what can be fixed automatically
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## Remove the environment and caches (run directories stay)
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# The environment: torch first and alone (only torch may come from the PyTorch index; a mirror that already
# serves the wanted build is used without asking it), then the rest, pinned by constraints.txt.
$(READY): pyproject.toml client/pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "SCORE needs Python 3.11 or newer; choose one with: make PYTHON=python3.12"; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV) || { echo "Could not create $(VENV): on Debian and Ubuntu, install the package python3-venv."; exit 1; }
	@echo "Installing $(TORCH_PIN)"
	@$(PIP) install --quiet --constraint constraints.txt "$(TORCH_PIN)" 2>/dev/null \
	  || $(PIP) install --constraint constraints.txt --extra-index-url $(TORCH_INDEX) "$(TORCH_PIN)"
	@echo "Installing score-rl and its dependencies"
	$(PIP) install --quiet --constraint constraints.txt "$(TORCH_PIN)" --editable '.[dev]' --editable client
	@rm -f $(VENV)/.ready-* && touch $@
