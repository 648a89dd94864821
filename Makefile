# make demo | test | test-all | lint | bench | test-gpu-aot
#
#   PYTHON=/path/to/python3.12   another interpreter, in an environment of its own (.venv-3.12)
#   JAX=0.11.*                   another JAX release, in an environment of its own (.venv-jax0.11)
#
# An environment is installed once and again when pyproject.toml changes.

# An interpreter may be on the PATH and still not start (a version manager's shim), so each candidate is run.
USABLE := -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1

ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3; do if $$p $(USABLE); then echo $$p; break; fi; done)
ifeq ($(PYTHON),)
$(error No Python 3.11 or newer with the venv module found: install one, or name it with PYTHON=/path/to/python)
endif
TAG :=
else
ifneq ($(shell $(PYTHON) $(USABLE) && echo usable),usable)
$(error PYTHON=$(PYTHON) does not run, is older than 3.11 or lacks the venv module)
endif
TAG := -$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif

VENV := .venv$(TAG)$(if $(JAX),-jax$(subst .*,,$(JAX)))
BIN := $(VENV)/bin
BENCHMARKS := $(filter-out benchmarks/_%,$(sort $(wildcard benchmarks/*.py)))

.PHONY: demo test fast test-all test-gpu-aot lint style types bench
.DELETE_ON_ERROR:

demo: $(VENV)/.installed-test
	$(BIN)/python examples/demo.py

# Types are checked beside the tests: pyright takes one core and half a minute.
test: style
	@$(MAKE) --no-print-directory -j 2 types fast

fast: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -n 2 -ra

# Compiles plans for GPUs with XLA's own compiler (1.1 GB to install); needs no GPU.
test-gpu-aot: $(VENV)/.installed-test
	@test -x $(VENV)-gpu/bin/python || $(PYTHON) -m venv $(VENV)-gpu
	@version=$$($(BIN)/python -c 'import jax; print(jax.__version__)'); \
	$(VENV)-gpu/bin/python -m pip install -q --disable-pip-version-check -e '.[test]' \
	  jax==$$version jax-cuda13-plugin==$$version jax-cuda13-pjrt==$$version
	$(VENV)-gpu/bin/python -m pytest -ra tests/gpu_aot

lint: style types

style: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-test
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.installed-bench
	@failed=; \
	for file in $(BENCHMARKS); do \
	  echo "== $$file"; $(BIN)/python $$file --quick || failed="$$failed $$file"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

# .installed-EXTRA says that the package and its optional dependencies [EXTRA] are in the environment.
$(VENV)/.installed-%: pyproject.toml
	@echo "Installing meshbayes[$*] into $(VENV): about a minute the first time"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[$*]' $(if $(JAX),'jax==$(JAX)')
	@touch $@
