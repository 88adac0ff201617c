# Everything a developer does with Regatta. Python 3.11, git and make suffice: each target sets up what it needs.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# The first Python that CrewAI supports; another one: make PYTHON=/path/to/python3.11 …
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
# More options for the command a target runs, e.g. make test ARGS="-k kickoff".
ARGS ?=

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## Make .venv from the lock (every target below does this first; it does nothing when all is there)
	@python="$(PYTHON)"; if [ -z "$$python" ]; then \
	echo "Regatta needs Python 3.11, 3.12 or 3.13 and finds none on PATH; name it: make PYTHON=/path/to/python3.11 …" >&2; \
	exit 1; fi; "$$python" -m scripts.bootstrap

.PHONY: demo
demo: setup ## Run a seeded team of three and watch it work in the terminal (no key, no account, no internet)
	@$(BIN)/regatta demo $(ARGS)

.PHONY: run
run: setup ## Serve the API with GraphiQL at http://127.0.0.1:8000/graphql until Ctrl-C
	@$(BIN)/regatta serve $(ARGS)

.PHONY: migrate
migrate: setup ## Bring the database at REGATTA_DATABASE_URL (or the embedded one) to the newest revision
	@$(BIN)/regatta migrate $(ARGS)

.PHONY: test
test: setup ## Run all tests that need Python alone, on a real PostgreSQL
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not extra and not survival" $(ARGS)

.PHONY: coverage
coverage: setup ## Run the same with the coverage gate; half as long again
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not extra and not survival" --cov --cov-report=term $(ARGS)

.PHONY: test-extra
test-extra: setup ## Run the tests that need Chromium, Node or Redis; missing programs are a failure
	@missing=; for program in chromium node redis-server; do \
	command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	if [ -n "$$missing" ]; then echo "make test-extra needs these programs on PATH:$$missing (.ci/run installs them)" >&2; exit 1; fi
	$(BIN)/python -m pytest -m extra $(ARGS)

.PHONY: test-survival
test-survival: setup ## Run the long proofs: workers, API and PostgreSQL killed again and again under load (minutes)
	$(BIN)/python -m pytest -m survival $(ARGS)

.PHONY: check
check: setup ## Check format, lint, types, layers, locks, schema snapshot and migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy -p scripts
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.check_lock
	$(BIN)/regatta export-schema --check
	$(BIN)/python -m pytest -q tests/contract/test_migrations.py

.PHONY: format
format: setup ## Format the code and apply ruff's safe fixes
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: schema
schema: setup ## Write the snapshot schema/schema.graphql
	$(BIN)/regatta export-schema

.PHONY: catalogue
catalogue: setup ## Write the models that ship from LiteLLM's price map (of another day: ARGS=2026-11-21)
	$(BIN)/python -m scripts.catalogue $(ARGS)

.PHONY: template-schema
template-schema: setup ## Write the schema of the files in domain/model/library
	$(BIN)/python -m scripts.template_schema

.PHONY: lock
lock: ## Write both locks from pyproject.toml, keeping what still fits (all new: make lock ARGS=--upgrade)
	"$(PYTHON)" -m scripts.lock $(ARGS)

.PHONY: bench
bench: setup ## Run every benchmark script (benchmarks/README.md says what each measures)
	@set -e; for script in benchmarks/[a-z]*.py; do name=$$(basename "$$script" .py); echo "== $$name"; $(BIN)/python -m "benchmarks.$$name" $(ARGS); done

.PHONY: graphiql
graphiql: ## Rebuild the GraphiQL bundle in app/static (needs Node; running Regatta does not)
	scripts/build_graphiql.sh

.PHONY: clean
clean: ## Remove the environment and all caches; the data in .regatta/ stays
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
