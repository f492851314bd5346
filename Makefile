# SPDX-License-Identifier: Apache-2.0
# Needs git, make, gcc, python3-dev and python3-venv (Debian, Ubuntu). Everything else comes into .venv.
#
#   make run          the demo exchange on http://127.0.0.1:8080
#   make test         all tests
#   make bench        the benchmarks and their gates
#   make check        static checks and the house rules
#   make proof NAME   a long proof (make proof lists them)
#   make image        the container image, built and used (needs root or a running Docker)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Packages that cannot live beside the others get environments of their own, .venv-tools/NAME, by tests/tools/NAME.txt.
TOOLS := $(patsubst tests/tools/%.txt,.venv-tools/%/installed,$(wildcard tests/tools/*.txt))
KERNEL := $(wildcard cython_core/*.pyx cython_core/*.pxi cython_core/*.pxd)
ARGUMENTS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test bench check proof image tools build debug sanitize clean
.DEFAULT_GOAL := run

run: $(VENV)/installed
	$(BIN)/bidhall serve --demo $(ARGUMENTS)

test: $(VENV)/installed-test tools
	$(BIN)/python -m pytest -p no:benchmark -n auto --dist worksteal $(ARGUMENTS)

bench: $(VENV)/installed-test
	$(BIN)/python -m pytest benchmarks/ $(ARGUMENTS)

check: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/house $(ARGUMENTS)

# `make proof NAME` and `make proof-NAME` are the same.
ifeq (proof,$(firstword $(MAKECMDGOALS)))
PROOF := $(word 2,$(MAKECMDGOALS))
ifneq (,$(PROOF))
.PHONY: $(PROOF)
$(PROOF):
	@:
endif
endif
proof: $(VENV)/installed-test
	$(BIN)/python -m pytest -m proof $(if $(PROOF),-k "$(PROOF)" -s,--collect-only -q) $(ARGUMENTS)
proof-%: $(VENV)/installed-test
	$(BIN)/python -m pytest -m proof -k "$*" -s $(ARGUMENTS)

image: $(VENV)/installed-test
	.ci/image

tools: $(TOOLS)

# The kernel again, in place, for the editable install.
build: $(VENV)/installed-test
	$(BIN)/python setup.py build_ext --inplace
debug: $(VENV)/installed-test
	BIDHALL_BUILD=debug $(BIN)/python setup.py build_ext --inplace
sanitize: $(VENV)/installed-test
	BIDHALL_BUILD=sanitize $(BIN)/python setup.py build_ext --inplace

clean:
	rm -rf build dist *.egg-info src/*.egg-info cython_core/*.so .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Each file below says that a step was done, and is younger than what the step depends on.
$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "bidhall needs Python 3.11 or later; say make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "venv is missing: apt install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade "setuptools>=77" wheel "Cython>=3.1"
	@touch $@

$(VENV)/installed: $(VENV)/python pyproject.toml setup.py src/bidhall/__init__.py $(KERNEL)
	@command -v gcc >/dev/null || { echo "gcc is missing: apt install gcc"; exit 1; }
	@test -e "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h" || \
		{ echo "Python.h is missing: apt install python3-dev"; exit 1; }
	@echo "Installing bidhall into $(VENV); its kernel is compiled, which takes a minute."
	@$(BIN)/python -m pip install --quiet --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

# Only what is in the list: installing the package again would compile the kernel again.
$(VENV)/installed-test: pyproject.toml $(VENV)/installed
	@echo "Installing what the tests need."
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["test"], sep="\n")' > $(VENV)/test.txt
	@$(BIN)/python -m pip install --quiet -r $(VENV)/test.txt
	@touch $@

.venv-tools/%/installed: tests/tools/%.txt
	@echo "Installing $* into an environment of its own."
	@test -x .venv-tools/$*/bin/python || $(PYTHON) -m venv .venv-tools/$*
	@.venv-tools/$*/bin/python -m pip install --quiet -r $<
	@touch $@
