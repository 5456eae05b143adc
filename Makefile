# make demo    register the sample pair and report the error against the known truth
# make napari  open napari with the Register widget
# make test    linters, types, import layers and all tests
# make help    the other targets
#
# Each target sets up what it needs in .venv, once; PYTHON chooses the interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SCREEN := scripts/on_virtual_screen.sh
SOURCES := src tests scripts examples benchmarks

# An empty stamp file for each thing that is installed: the second time is quick.
VENV_READY := $(VENV)/.ready-venv
BASE_READY := $(VENV)/.ready-base
GUI_READY := $(VENV)/.ready-gui
TEST_READY := $(VENV)/.ready-test
BENCHMARK_READY := $(VENV)/.ready-benchmark
SCREEN_READY := $(VENV)/.ready-screen

# Compiled on all cores; pip would do it on one. What is no Python of this version is left.
define install
	@$(BIN)/python -m pip install -qq --no-compile --constraint constraints.txt --editable $(1)
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib >/dev/null || true
endef

.DEFAULT_GOAL := help
.PHONY: help setup demo napari test lint format screenshots benchmark tables clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(TEST_READY) $(SCREEN_READY) ## everything that development needs, in .venv

demo: $(BASE_READY) ## register the sample pair; no window needed
	@$(BIN)/napari-accr demo

napari: $(GUI_READY) ## open napari with the Register widget
	@$(BIN)/napari --with napari-accr Register

test: $(TEST_READY) $(SCREEN_READY) ## linters, types, import layers and all tests
	scripts/run_checks.sh

lint: $(TEST_READY) ## ruff, mypy and the import layers
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(TEST_READY) ## put the code into its standard form
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

screenshots: $(TEST_READY) $(SCREEN_READY) ## draw the pictures of docs/images anew
	$(SCREEN) $(BIN)/python scripts/make_screenshots.py
	$(BIN)/python scripts/make_figures.py

benchmark: $(BENCHMARK_READY) $(SCREEN_READY) ## measure accuracy and speed (hours; resumes)
	$(BIN)/python benchmarks/accuracy.py
	$(SCREEN) $(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/table.py

tables: $(BASE_READY) ## write the tables of the README from benchmarks/results
	$(BIN)/python benchmarks/table.py

clean: ## remove the environment and everything that was generated
	rm -rf $(VENV) dist build napari-accr-demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV_READY):
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || scripts/make_venv.sh $(PYTHON) $(VENV)
	@touch $@

$(BASE_READY): $(VENV_READY) pyproject.toml constraints.txt
	@echo "installing napari-accr into $(VENV) (a few minutes, once)"
	$(call install,.)
	@touch $@

$(GUI_READY): $(BASE_READY)
	@echo "installing napari into $(VENV)"
	$(call install,".[all]")
	@touch $@

$(TEST_READY): $(VENV_READY) pyproject.toml constraints.txt
	@echo "installing napari-accr and what the tests need into $(VENV) (a few minutes, once)"
	$(call install,".[test]")
	@touch $(BASE_READY) $@

$(BENCHMARK_READY): $(TEST_READY)
	$(call install,".[benchmark]")
	@touch $@

# No stamp where packages are missing, so that the next run looks again.
$(SCREEN_READY): $(VENV_READY) scripts/install_system_packages.sh
	@scripts/install_system_packages.sh && touch $@ || true
