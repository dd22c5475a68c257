# Everything here works on a machine that has only Python 3.11 and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed
CARGO := $(shell command -v cargo)
SEEDS ?= 2000
MINUTES ?= 3
BROKERS ?= 1
ARGS ?=
# Some machines say that Python shall keep no compiled modules; the tests start hundreds of processes, and each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
TARGETS ?= x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu x86_64-unknown-linux-musl aarch64-unknown-linux-musl
PARALLEL := -n 2 --dist worksteal
# No addresses of package indexes, and none of our own distributions. `--python-version` is the oldest that is supported.
LOCK := .lock/bin/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 --no-header --no-annotate \
  --no-emit-index-url --no-emit-package taximeter --no-emit-package taximeter-emitter --no-emit-package taximeter-sandbox

.DEFAULT_GOAL := help
.PHONY: help install lock demo test unit lint types contracts simulate chaos gameday wheels bench soak clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The lock says every version and hash; the three distributions of this repository are installed as they stand.
$(VENV)/.python: pyproject.toml emitter/pyproject.toml sandbox/pyproject.toml requirements/development.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement requirements/development.txt
	@$(PIP) install --no-deps --no-build-isolation --editable emitter --editable sandbox --editable .
	@touch $@

# The native reader is built where cargo is. Nothing fetches a compiler, and everything works without it.
$(STAMP): $(VENV)/.python native/Cargo.toml native/pyproject.toml native/taximeter_native.pyi $(wildcard native/src/*.rs) $(CARGO)
ifeq ($(CARGO),)
	@echo "cargo is not here: Python reads all events itself, several times slower than the native reader"
else
	@PATH="$(CURDIR)/$(BIN):$$PATH" MATURIN_NO_INSTALL_RUST=1 $(PIP) install --no-deps --no-build-isolation --force-reinstall ./native > $(VENV)/native.log 2>&1 || \
	  { echo "the native reader cannot be built, $(VENV)/native.log says why: Python reads all events itself, several times slower"; \
	    $(PIP) uninstall --yes taximeter-native 2> /dev/null; }
endif
	@touch $@

install: $(STAMP)  ## Make the virtual environment and install everything into it

demo: $(STAMP)  ## Run the whole pipeline under load and compare (ARGS="--events 50000 --kafka docker ...")
	@$(BIN)/taximeter demo $(ARGS)

test: $(STAMP)  ## Lint, types, import contracts and all tests, on the first broker that can be had
	@$(BIN)/python -c 'from taximeter_sandbox.brokers.choose import choose_broker; print(f"broker: {choose_broker()}", flush=True)'
	@$(MAKE) --no-print-directory lint types contracts
	$(BIN)/pytest $(PARALLEL) tests/unit $(ARGS)
	$(BIN)/pytest $(PARALLEL) tests/property tests/deploy $(ARGS)
	$(BIN)/pytest $(PARALLEL) tests/contract tests/packaging tests/examples $(ARGS)
	$(BIN)/pytest $(PARALLEL) tests/simulation $(ARGS)
	$(BIN)/pytest -n 3 --dist worksteal tests/integration/test_three_answers.py tests/end_to_end tests/integration $(ARGS)

unit: $(STAMP)  ## The fast tests alone, for the time between two edits (ARGS="-k ledger")
	$(BIN)/pytest $(PARALLEL) tests/unit $(ARGS)

lint: $(STAMP)  ## Ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy, strict, tests included; the emitter also as Python 3.10 reads it
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 -p taximeter_emitter

contracts: $(STAMP)  ## Which package may import which
	$(BIN)/lint-imports

simulate: $(STAMP)  ## Seeded simulation of the whole pipeline's cores (SEEDS=100000)
	$(BIN)/python -m tests.simulation --seeds 0:$(SEEDS) $(ARGS)

chaos: $(STAMP)  ## Break real processes on a real broker and compare the books (MINUTES=30 BROKERS=3 ARGS="--seed 7")
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --brokers $(BROKERS) $(ARGS)

gameday: $(STAMP)  ## Faults in turn under a real Prometheus and Alertmanager: what fired when, the doctor, the bill (ARGS="--faults kafka-away")
	$(BIN)/python -m tests.chaos.gameday $(ARGS)

wheels: $(STAMP)  ## Wheels of the native reader for Linux on x86-64 and ARM, with glibc and musl, in dist/ (needs rustup)
	@test -x .wheels/bin/maturin || { $(PYTHON) -m venv .wheels && .wheels/bin/python -m pip --quiet --disable-pip-version-check install "maturin>=1.9,<2" ziglang; }
	rustup target add $(TARGETS)
	@for target in $(TARGETS); do \
	  PATH="$(CURDIR)/.wheels/bin:$$PATH" .wheels/bin/maturin build --quiet --release --zig --manifest-path native/Cargo.toml --target $$target --out dist || exit 1; \
	done
	@ls -l dist

bench: $(STAMP)  ## CPU of whole processes as ratios to a bare client (ARGS="--only aggregator --runs 3 --json FILE")
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(STAMP)  ## Steady load for long: nothing may grow (ARGS="--minutes 60 --rate 10000 --svg docs/soak.svg")
	$(BIN)/python -m tests.soak $(ARGS)

lock:  ## Renew requirements/*.txt: the newest versions that pyproject.toml allows, with hashes
	@test -x .lock/bin/uv || { $(PYTHON) -m venv .lock && .lock/bin/python -m pip --quiet --disable-pip-version-check install uv; }
	$(LOCK) pyproject.toml --output-file requirements/image.txt
	$(LOCK) pyproject.toml --extra sandbox --output-file requirements/install.txt
	$(LOCK) pyproject.toml --all-extras --output-file requirements/development.txt
	echo "maturin>=1.9,<2" | $(LOCK) - --output-file requirements/native.txt

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .wheels dist native/target
