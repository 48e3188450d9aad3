# `make` lists the targets. Each of them sets up everything it needs first: Python 3.11 or newer is all a machine must have,
# and a C compiler for the tests that take long.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The requirements that pyproject.toml lists under a name: `dependencies`, or an extra.
LISTED := $(BIN)/python -c "import sys, tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
  print(*{**project, **project['optional-dependencies']}[sys.argv[1]], sep='\n')"
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --constraint constraints.txt
RUN := $(BIN)/python run_experiment.py
# Tests in so many processes; who is done takes over what another has yet to do.
WORKERS ?= 2
TESTS := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo bench docs test check lint types floors heavy alone python clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.runs ## solve a Game of 24 and a product with the shipped policy
	$(RUN) solve "4 9 10 13" domain=game24 budget=10s
	$(RUN) solve "What is 17 * 24?" budget=5s

bench: $(VENV)/.runs ## how fast thoughts are decoded, on one core; writes docs/performance.md (an hour)
	$(BIN)/python -m benchmarks.decode

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/.develops ## build the documentation site into build/docs
	$(BIN)/mkdocs build --strict --quiet
	@echo "Read build/docs/index.html, or, to search in it too, http://127.0.0.1:8001 after:"
	@echo "  $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/docs 8001"

# One thread a process: the models of the tests are tiny, and more threads than free cores are very slow.
test heavy alone: export OMP_NUM_THREADS ?= 1

test: $(VENV)/.develops ## run the default tests (no GPU, no network; minutes)
	$(TESTS)

check: lint types floors test heavy alone ## everything a change must pass: lint, types, floors, all tests

lint: $(VENV)/.develops ## ruff
	$(BIN)/ruff check .

types: $(VENV)/.develops ## strict mypy
	$(BIN)/mypy

floors: $(VENV)/.develops ## imports point downwards only (import-linter)
	$(BIN)/lint-imports

heavy: $(VENV)/.gym ## the tests that take longer
	$(TESTS) -m "heavy and not alone"

alone: $(VENV)/.gym ## those of them that are disturbed by others
	$(BIN)/python -m pytest -m "heavy and alone"

clean: ## remove the virtual environment and all caches (runs/ stays)
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up: three stamps in the virtual environment, renewed when what they were made from changes ---

python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: there is no $(PYTHON); install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Python 3.11 or newer is needed, not $$($(PYTHON) --version 2>&1); name another: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# torch comes first and pinned, so that nothing after it makes pip weigh other builds of it, which are gigabytes.
$(VENV)/.runs: pyproject.toml constraints.txt | python
	@echo "Setting up $(VENV) (the first time this downloads a few hundred megabytes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) "$$(grep '^torch==' constraints.txt)"
	@$(LISTED) dependencies > $(VENV)/runs.txt
	@$(INSTALL) --requirement $(VENV)/runs.txt
	@touch $@

$(VENV)/.develops: $(VENV)/.runs
	@$(LISTED) dev > $(VENV)/develops.txt
	@$(INSTALL) --requirement $(VENV)/develops.txt
	@touch $@

# Needed by tests that take long, and by nobody else who has no C compiler.
$(VENV)/.gym: $(VENV)/.develops
	@$(LISTED) gym > $(VENV)/gym.txt
	@$(INSTALL) --requirement $(VENV)/gym.txt || { \
	  echo "error: the extra gym was not installed; what pip says stands above. Its pycosat is compiled here, which takes" \
	    "a C compiler and Python's headers; on Debian and Ubuntu: apt install gcc python3-dev" >&2; exit 1; }
	@touch $@
