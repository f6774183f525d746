# `make demo` and `make test` need nothing but Python 3.10-3.13: each makes the environments it uses.

PYTHON  ?= python3
WORKERS ?= 2
PYTEST_ARGS ?=
# per cent of statements that the tests must run: just below what `make coverage` prints
FLOOR := 93

# which tests were left out for want of a tool, and how to get it
LEFT_OUT := $(CURDIR)/build/left-out.txt

VENV := .venv
BIN  := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS_READY := $(VENV)/.ready-bench
DOCS_READY := $(VENV)/.ready-docs
LAVA  := .venv-lava
LAVA_READY := $(LAVA)/seenn-lava.txt

# the Lava interpreter lies beside the code, so that a clone stands on its own
export SEENN_LAVA_HOME := $(CURDIR)/$(LAVA)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help venv lava demo test lint pytest nojit coverage support dist-check bench bench-tools docs \
  clean distclean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(READY)  ## the Python environment, in .venv

lava: $(LAVA_READY)  ## the Lava interpreter, in .venv-lava

demo: $(READY) $(LAVA_READY)  ## compile, simulate and check on Lava the network in examples/
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

test: lint coverage docs  ## every check: style, types, tests with and without JIT, coverage, the site
	@cat $(LEFT_OUT)

lint: $(READY)  ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

pytest: $(READY) $(LAVA_READY)  ## tests alone (WORKERS=2, PYTEST_ARGS=...)
	$(BIN)/pytest -n $(WORKERS) $(PYTEST_ARGS)

nojit: $(READY)  ## kernel tests as plain Python: what numba compiles must also be right unjitted
	NUMBA_DISABLE_JIT=1 $(BIN)/pytest -m nojit -n $(WORKERS)

# one run of the tests is measured, not a second one; what numba compiles shows without JIT alone
coverage: $(READY) $(LAVA_READY)  ## both runs of the tests, and the lines that they leave out
	@mkdir -p build
	SEENN_LEFT_OUT=$(LEFT_OUT) $(BIN)/pytest -n $(WORKERS) --cov --cov-report= $(PYTEST_ARGS)
	NUMBA_DISABLE_JIT=1 $(BIN)/pytest -m nojit -n $(WORKERS) --cov --cov-append --cov-report=
	$(BIN)/coverage report --fail-under=$(FLOOR)

support: $(READY)  ## docs/support.md, made from the code
	$(BIN)/python tools/support.py

dist-check: $(READY)  ## wheel and source archive, used alone under every Python that is here
	$(BIN)/python tools/dist_check.py

bench: $(TOOLS_READY) $(LAVA_READY)  ## every table of benchmarks/
	@set -e; for table in benchmarks/[a-z]*.py; do echo "== $$table"; $(BIN)/python "$$table"; done

bench-tools: $(TOOLS_READY)

docs: $(DOCS_READY)  ## the documentation as a site, in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:  ## what runs and checks left behind
	rm -rf build dist *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean  ## and both environments
	rm -rf $(VENV) $(LAVA)

# torch first and alone, exactly as pinned: no other request may ever choose a build of it;
# SpikingJelly and Norse without their dependencies, which are torchvision, tensorboard and more
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v < (3, 14) else \
	  "seenn-deploy needs Python 3.10 to 3.13, this is %d.%d: make PYTHON=python3.11" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --no-deps -c constraints.txt spikingjelly norse
	touch $@

# other tools' counters
$(TOOLS_READY): $(READY)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[bench]'
	touch $@

# what builds the site
$(DOCS_READY): $(READY)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

# setup-lava writes this file last
$(LAVA_READY): | $(READY)
	$(BIN)/seenn setup-lava
