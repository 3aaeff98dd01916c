# make search   the first front, from nothing       make test       lint, types, tests (no torch)
# make bench    speed, measured here                make test-all   every extra, every test
# make bench-peers   the same layers and models through other tools and ours
#
# PYTHON chooses the interpreter (3.11 or newer), VENV the environment's folder, JOBS how many
# processes the tests use, SPACE what is searched, ARGS further options of the command.

VENV ?= .venv
MINIMUM := import sys; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
  if "$$p" -c '$(MINIMUM)' >/dev/null 2>&1; then echo "$$p"; break; fi; done)
endif

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input
CONSTRAINED := -c constraints.txt
SPACE ?= spaces/bert.yaml
JOBS ?= 2
PEER := .venv-peer

# What the environment says to some other Python is not meant for this one.
unexport $(filter-out PYTHON,$(filter PYTHON%,$(.VARIABLES)))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help search test test-all lint bench bench-peers docs site reproduce golden clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,6p'

# ---- environments: installed once, again only when what they are made of changes ----
# An environment whose Python went away, or whose checkout was moved, is made anew.

ifneq ($(wildcard $(VENV)/.created),)
$(shell [ "$$(cat $(VENV)/.created)" = "$$(pwd)" ] && $(BIN)/python -c "" >/dev/null 2>&1 || rm -rf $(VENV))
endif

$(VENV)/.created:
	@"$(if $(PYTHON),$(PYTHON),no-python)" -c '$(MINIMUM)' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed, and $(if $(PYTHON),'$(PYTHON)' is older or missing,none was found)." >&2; \
	  echo "Name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@"$(PYTHON)" -m venv --clear "$(VENV)" || { \
	  echo "'$(PYTHON)' cannot make an environment: install its venv package (python3-venv)." >&2; exit 2; }
	@pwd > $@

$(VENV)/.base: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (once, about a minute) ..."
	@$(PIP) install $(CONSTRAINED) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@echo "Installing what the tests need ..."
	@$(PIP) install $(CONSTRAINED) -e ".[dev]"
	@touch $@

$(VENV)/.all: $(VENV)/.dev
	@echo "Installing every extra (PyTorch included: some minutes) ..."
	@$(PIP) install $(CONSTRAINED) -e ".[dev,gp,storage,cluster,train,import,mcp]"
	@touch $@

# SCALE-Sim cannot run with the numpy we use, so it lives in an environment of its own.
$(PEER)/.installed: benchmarks/peer-constraints.txt $(VENV)/.created
	@echo "Installing SCALE-Sim into $(PEER) to compare with ..."
	@$(BIN)/python -m venv --clear $(PEER)
	@$(PEER)/bin/python -m pip --quiet --quiet --disable-pip-version-check --no-input \
	  install -r benchmarks/peer-constraints.txt
	@touch $@

# The tests start a PostgreSQL server of their own; where it is missing and cannot be installed,
# they skip and say so.
.PHONY: postgres
postgres:
	@if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! command -v initdb >/dev/null \
	  && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing PostgreSQL for the tests of --storage ..."; \
	  { apt-get update && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y --no-install-recommends postgresql; } >/dev/null 2>&1 || \
	    echo "PostgreSQL could not be installed: its tests will skip." >&2; fi

# Pages of `report` are tried in a browser; where there is none, their tests skip and say so.
.PHONY: chromium
chromium:
	@if ! { command -v chromedriver && { command -v chromium || command -v chromium-browser; }; } \
	  >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing Chromium for the tests of pages ..."; \
	  { apt-get update && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y --no-install-recommends chromium chromium-driver; } >/dev/null 2>&1 || \
	    echo "Chromium could not be installed: its tests will skip." >&2; fi

# ---- what people want ----

search: $(VENV)/.base
	@$(BIN)/transcode search "$(SPACE)" --report $(ARGS)
	@echo "The programs are $(BIN)/elector and $(BIN)/transcode; by name after: . $(BIN)/activate"

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/mypy --num-workers $(JOBS)

test: lint
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow" $(ARGS)

test-all: $(VENV)/.all $(PEER)/.installed postgres chromium lint
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

bench: $(VENV)/.base $(PEER)/.installed
	@$(BIN)/python benchmarks/speed.py $(ARGS)

# Other tools, each in an environment of its own: benchmarks/beside_peers.csv is written anew.
bench-peers: $(VENV)/.base
	@$(BIN)/python benchmarks/beside_peers.py $(ARGS)

docs: $(VENV)/.base
	@$(BIN)/python docs/generate.py

# The documentation as a site in site/, every link checked.
$(VENV)/.site: $(VENV)/.base
	@echo "Installing what the site needs ..."
	@$(PIP) install $(CONSTRAINED) -e ".[docs]"
	@touch $@

site: $(VENV)/.site
	@$(BIN)/python -m mkdocs build --quiet --strict --site-dir site

# Every figure that README.md and docs/ quote, but for dated benchmarks (docs/reproduce.md).
reproduce: $(VENV)/.base
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/elector validate
	@$(BIN)/transcode search "$(SPACE)" --fresh --out results/reproduce --report

# Results at 10 digits that a test compares with; a renewal is explained in CHANGELOG.
golden: $(VENV)/.base
	@$(BIN)/python tests/golden.py --write

clean:
	rm -rf $(VENV) $(PEER) .venv-peers build dist site .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
