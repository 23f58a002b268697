# Two commands: `make demo` shows Key Manager at work; `make test` proves it. `make help` lists the rest.
# PYTHON=python3.12 chooses another Python (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AXE := tests/axe
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo demo-passwords demo-reset test test-long screenshots lint docs requirements clean debian-packages

PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
PYTEST = $(BIN)/python -m pytest --numprocesses 2 --session-timeout 1500
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

help:
	@echo 'make demo            start everything here and walk through the main job (ONCE=1: then stop)'
	@echo 'make demo-passwords  give the accounts of the demo new passwords'
	@echo 'make demo-reset      forget the data of the demo'
	@echo 'make test            every proof that fits in ten minutes, on PostgreSQL and on SQLite'
	@echo 'make test-long       the long proofs: crash storms, load'
	@echo 'make screenshots     take a picture of every page for docs/screenshots (ONLY="sources keys": of these)'
	@echo 'make lint            style, types, imports, templates, migrations, requirements, reference pages'
	@echo 'make docs            write docs/reference: every setting, every command'
	@echo 'make requirements    compile requirements*.in into requirements*.txt with hashes'
	@echo 'make clean           remove the virtual environment and every cache'

# --- The virtual environment: stamps tell what it holds, so a second call does nothing ----------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
		"Key Manager needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + \
		". Choose another one, for example: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'Making $(VENV) failed. On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }

$(VENV)/installed-run: requirements.txt | $(BIN)/python
	@echo 'Installing requirements.txt ...'
	@$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed-run
	@echo 'Installing requirements-dev.txt ...'
	@$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@

# The accessibility checker comes from npm, by the hashes in its lock file, and runs no script of its own.
$(AXE)/node_modules/installed: $(AXE)/package.json $(AXE)/package-lock.json | debian-packages
	@if command -v npm >/dev/null && echo 'Installing axe-core ...' && \
		(cd $(AXE) && npm ci --ignore-scripts --loglevel=error); then touch $@; \
		else echo 'No axe-core without npm: what needs it stays unproven.'; fi

# --- Demo ----------------------------------------------------------------------------------------

demo: $(VENV)/installed-run
	@exec $(BIN)/python -m demo $(if $(filter-out 0,$(ONCE)),--once)

demo-passwords: $(VENV)/installed-run
	@$(BIN)/python -m demo --passwords

demo-reset: $(VENV)/installed-run
	@$(BIN)/python -m demo --reset

# --- Proofs --------------------------------------------------------------------------------------

test: $(VENV)/installed-dev debian-packages $(AXE)/node_modules/installed
	@status=0; set -x; \
	KEYMANAGER_TEST_DATABASE=sqlite KEYMANAGER_TEST_ONLY_DATABASE=1 $(PYTEST) -m 'not long' || status=1; \
	$(PYTEST) -m 'not long' || status=1; \
	{ set +x; exit $$status; } 2>/dev/null

test-long: $(VENV)/installed-dev debian-packages
	$(BIN)/python -m pytest -m long --timeout 3600

# The tests run without these too, and then say at their end what they did not prove.
debian-packages:
	@bash .ci/debian-packages softhsm2 postgresql redis-server chromium docker-compose \
		$$(command -v npm >/dev/null || echo nodejs npm)

# --- Pictures ------------------------------------------------------------------------------------

screenshots: $(VENV)/installed-dev debian-packages
	@$(BIN)/python -m tests.pages.shots $(ONLY)

lint docs: export KEYMANAGER_DEMO := 1
lint docs: export KEYMANAGER_SECRET_KEY := lint
lint docs: export KEYMANAGER_DATABASE_URL := sqlite://:memory:
lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python -m tests.infra.lint

docs: $(VENV)/installed-dev
	$(BIN)/python -m tests.infra.reference

# --- Housekeeping --------------------------------------------------------------------------------

requirements: $(VENV)/installed-dev
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) requirements-dev.in -o requirements-dev.txt

clean:
	rm -rf $(VENV) $(AXE)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
