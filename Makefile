# One command for everything. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV ?= .venv
JOBS ?= 2
PYTHON ?=
ARGS ?=

BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Make .venv with everything in it, exactly as locked

# The first interpreter that is new enough and can make an environment. PYTHON=/path/to/python overrides.
$(STAMP): requirements.lock pyproject.toml
	@found=; seen=; \
	for name in $(if $(PYTHON),$(PYTHON),python3.11 python3 python3.12 python3.13); do \
	  version=$$("$$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  if ! "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	    seen="$$seen $$name is $$version;"; continue; fi; \
	  if ! "$$name" -c 'import ensurepip, venv' 2>/dev/null; then \
	    seen="$$seen $$name is $$version but lacks venv (on Debian: apt-get install python3-venv);"; continue; fi; \
	  found=$$name; break; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "error: OmniTensor needs Python 3.11 or newer with venv; found:$${seen:- none}" >&2; \
	  echo "Install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; fi; \
	echo "Setting up $(VENV) with $$found (once; a minute or two)"; \
	[ -x $(PY) ] && $(PY) -c 'import pip' 2>/dev/null || "$$found" -m venv --clear $(VENV)
	@$(PY) -m pip install -qq --no-deps --require-hashes -r requirements.lock
	@$(PY) -m pip install -qq --no-deps --no-build-isolation -e .
	@$(PY) -m pip check --quiet || { echo "error: requirements.lock misses something; run: make lock" >&2; exit 1; }
	@touch $@

.PHONY: devnet
devnet: setup ## Run four validators here and show data being judged and paid, until Ctrl-C
	@trap ':' INT TERM; \
	code=0; $(PY) -m deploy.devnet $(ARGS) || code=$$?; \
	case $$code in 130|143) code=0;; esac; exit $$code

.PHONY: test
test: setup ## Run the tests
	@if [ -n "$(ARGS)" ]; then $(PY) -m pytest -n $(JOBS) --dist loadgroup $(ARGS); else \
	  code=0; $(PY) -m pytest -n $(JOBS) --dist loadgroup --ignore tests/e2e || code=$$?; \
	  $(PY) -m pytest -n $(JOBS) --dist loadgroup tests/e2e || code=$$?; exit $$code; fi

.PHONY: check
check: format lint types imports test ## Everything that must hold: format, lint, types, imports, tests

.PHONY: format
format: setup
	@$(BIN)/ruff format --check .

.PHONY: lint
lint: setup
	@$(BIN)/ruff check .

.PHONY: types
types: setup
	@$(BIN)/mypy

.PHONY: imports
imports: setup
	@$(BIN)/lint-imports --no-cache

.PHONY: fmt
fmt: setup ## Format the code and mend what can be mended by itself
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: sim
sim: setup ## Simulate consensus: SEED=n replays one run (ARGS=--shrink makes a bad one short), SEEDS=n runs that many [JOBS=2]
	@$(if $(or $(SEED),$(SEEDS),$(ARGS)),,echo "error: say which: make sim SEED=7, or make sim SEEDS=1000" >&2; exit 2;) \
	$(PY) -m tests.simulation.run $(if $(SEED),--seed $(SEED),$(if $(SEEDS),--seeds $(SEEDS) --jobs $(JOBS))) $(ARGS)

.PHONY: mutants
mutants: setup ## Plant every known fault in consensus, and print in how many seeds the simulator sees it
	@$(PY) -m tests.simulation.mutants $(ARGS)

.PHONY: twins
twins: setup ## Play every way in which twins (one key, two machines) can be led and cut apart; long [JOBS=2]
	@$(PY) -m tests.simulation.twins --jobs $(JOBS) $(ARGS)

.PHONY: histories
histories: setup ## Random histories of the ledger against the model: TRANSACTIONS=200000 SEED=1
	@$(PY) -m tests.model --transactions $(or $(TRANSACTIONS),200000) --seed $(or $(SEED),1) $(ARGS)

.PHONY: staking-years
staking-years: setup ## Ten years of delegation and rewards against the oracle: DAYS=1 an epoch, SEEDS=2
	@STAKING_DAYS=$(or $(DAYS),1) STAKING_SEEDS=$(or $(SEEDS),2) $(PY) -m pytest -q -n 0 --timeout 0 tests/ledger/test_staking_years.py -k ten_years

.PHONY: model
model: setup formal/node_modules/.package-lock.json ## Check the formal model and draw its traces anew; needs npm [SEED=1 SAMPLES=300]
	@$(PY) -m formal.check $(if $(SEED),--seed $(SEED)) $(if $(SAMPLES),--samples $(SAMPLES))

formal/node_modules/.package-lock.json: formal/package.json formal/package-lock.json
	@command -v npm >/dev/null || { echo "error: the formal model needs Node.js 18 or newer with npm" >&2; exit 1; }
	@cd formal && npm ci --silent
	@touch $@

.PHONY: soak
soak: setup ## Real nodes in network namespaces, cut off, killed, doubled: MINUTES=10 (needs root and iproute2)
	@code=0; $(PY) -m tests.soak --minutes $(or $(MINUTES),10) $(ARGS) || code=$$?; \
	if [ $$code -eq 77 ]; then exit 0; else exit $$code; fi

.PHONY: leaders
leaders: setup ## A real net led by three workers, one killed half-way: who led against what credit drew: VIEWS=2000 (an hour at most)
	@$(PY) -m tests.leads --views $(or $(VIEWS),2000) $(ARGS)

.PHONY: bigfile
bigfile: setup ## A file of gigabytes through real nodes that are killed on the way, each below 300 MB: SIZE=2G
	@LARGE_FILE=$(or $(SIZE),2G) $(PY) -m pytest -n 0 -s --timeout 0 tests/e2e/test_7_large_file.py $(ARGS)

.PHONY: kills
kills: setup ## kill -9 at random instants in commits, snapshots, pruning, loads and migrations: KILLS=250
	@$(PY) -m tests.storage.kills --kills $(or $(KILLS),250) $(ARGS)

.PHONY: storage-faults
storage-faults: setup ## Disk faults at random on real databases, and simulated power cuts: FAULTS=1000 CUTS=200
	@$(PY) -m tests.storage.faults --faults $(or $(FAULTS),1000) $(ARGS)
	@$(PY) -m tests.storage.power --cuts $(or $(CUTS),200) $(ARGS)

.PHONY: bench
bench: setup ## Measure, and write benchmarks/results/latest.json (ARGS=all: also at a million accounts)
	@$(PY) -m benchmarks.run $(ARGS)

.PHONY: people
people: setup ## Play people of many minds through the ledger: who earns what, what is accepted (ARGS=--quick for less)
	@$(PY) -m benchmarks.people $(ARGS)

.PHONY: campaigns
campaigns: setup ## Drive random campaigns to their end and look that nothing is left in any (COUNT=20000)
	@$(PY) -m tests.ledger.test_review_escrow $(or $(COUNT),20000)

.PHONY: labels
labels: setup ## Give real people's labels through the ledger: how often it is right, at how many labels (TOWNS=40)
	@$(PY) -m tests.ledger.label_figures $(or $(TOWNS),40)

.PHONY: wheel
wheel: setup ## Build the installable package into dist/
	@$(PY) -m pip wheel -qq --no-deps --no-build-isolation --wheel-dir dist .
	@ls -1 dist/*.whl

.PHONY: lock
lock: setup ## Write requirements.lock anew (ARGS=--upgrade to move to newer versions)
	@CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe \
	  --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  --extra node --extra media --extra dataset --extra s3 --extra dev --output-file requirements.lock $(ARGS) pyproject.toml

.PHONY: clean
clean: ## Remove the environment and everything that was built or cached
	@rm -rf $(VENV) build dist formal/node_modules *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
