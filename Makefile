# Everything that people and CI run. The first `make demo` or `make test` sets up what it needs, in
# `.venv` and `target`; after that neither uses the network, and only what changed is built again.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTHONS ?= 3.11 3.12 3.13
SEEDS ?= 2000
export SEEDS
CARGO_DENY := target/tools/bin/cargo-deny
CARGO_DENY_VERSION := 0.20.2

# Cargo, maturin and people's own shells must agree on these, or each builds all anew.
export CARGO_TARGET_DIR := $(CURDIR)/target
export CARGO_TERM_COLOR ?= auto
unexport VIRTUAL_ENV
unexport PYTHONPATH
unexport PYTHONHOME

RUST_SOURCES := Cargo.toml Cargo.lock rust-toolchain.toml $(shell find crates -name '*.rs' -o -name Cargo.toml)
# What goes into the installed package besides: its metadata. The Python sources are used in place.
PACKAGE_SOURCES := $(RUST_SOURCES) pyproject.toml

.PHONY: help
help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- The main job -----------------------------------------------------------------------------

.PHONY: demo
demo: $(VENV)/hurricane.stamp ## Build hurricane and run its main job, verified
	@$(BIN)/hurricane demo

.PHONY: build
build: $(VENV)/hurricane.stamp ## Build hurricane into .venv

$(VENV)/hurricane.stamp: $(VENV)/tools.stamp $(PACKAGE_SOURCES)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --locked --quiet
	@# As pip does with a wheel: or every program and worker compiles it, wherever nothing may be kept.
	@$(BIN)/python -m compileall -q python/hurricane
	@touch $@

$(VENV)/tools.stamp: .ci/requirements.txt tests/requirements.txt | toolchain
	@python=$$(.ci/find-python); \
	[[ -x $(BIN)/python ]] || "$$python" -m venv $(VENV); \
	echo "Installing the pinned tools into .venv, for $$($(BIN)/python --version)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r .ci/requirements.txt
	@touch $@

.PHONY: toolchain
toolchain:
	@command -v cargo >/dev/null || { printf '%s\n' 'error: cargo was not found' 'hint: install Rust with rustup' >&2; exit 1; }
	@command -v cc >/dev/null || { printf '%s\n' 'error: no C compiler was found' 'hint: apt-get install gcc' >&2; exit 1; }

# --- Everything that must hold ----------------------------------------------------------------

.PHONY: test
test: lint test-rust simulate test-python test-lan ## Run everything that CI runs

# The simulation is among them with a few seeds; `simulate` runs many.
.PHONY: test-rust
test-rust: $(VENV)/tools.stamp ## Run the Rust tests
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python SEEDS=20 cargo test --workspace --locked

# Of the whole workspace: the same features, so that what `test-rust` has built serves here.
.PHONY: simulate
simulate: | toolchain ## Run seeded clusters: SEEDS=10000 make simulate, or SEED=7 make simulate to replay one
	cargo test --quiet --locked --workspace --test simulation -- --nocapture

.PHONY: test-python
test-python: $(VENV)/hurricane.stamp $(VENV)/cpython-tests.stamp ## Run the Python tests
	$(BIN)/python -m pytest

# LAN='-k s4' chooses among them. What they measure is printed at the end. They mostly wait, so that
# several run at a time, each on hosts of its own.
.PHONY: test-lan
test-lan: $(VENV)/hurricane.stamp ## Run the tests on several hosts, made of network namespaces
	@.ci/in-namespaces $(BIN)/python -m pytest tests/lan --numprocesses 4 $(LAN)

# The one wheel, and the whole suite on each Python that it is for.
.PHONY: test-pythons
test-pythons: $(addprefix test-python-,$(PYTHONS)) ## Run the Python tests on 3.11, 3.12 and 3.13 with one wheel

.PHONY: $(addprefix test-python-,$(PYTHONS))
$(addprefix test-python-,$(PYTHONS)): test-python-%: target/pythons/%/hurricane.stamp
	$(<D)/bin/python -m pytest tests docs --pyargs hurricane

.PRECIOUS: target/pythons/%/hurricane.stamp target/pythons/%/tools.stamp
target/pythons/%/hurricane.stamp: target/pythons/%/tools.stamp target/wheels/hurricane.stamp
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps target/wheels/*.whl
	@touch $@

target/pythons/%/tools.stamp: tests/requirements.txt
	@python=$$(.ci/find-python $*); [[ -x $(@D)/bin/python ]] || "$$python" -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@.ci/install-cpython-tests $(@D)/bin/python
	@touch $@

target/wheels/hurricane.stamp: $(VENV)/tools.stamp $(PACKAGE_SOURCES) $(shell find python -name '*.py' -o -name '*.pyi')
	@rm -f target/wheels/*.whl
	$(BIN)/maturin build --release --locked --quiet --out target/wheels
	@touch $@

$(VENV)/cpython-tests.stamp: $(VENV)/tools.stamp .ci/install-cpython-tests
	@.ci/install-cpython-tests $(BIN)/python
	@touch $@

# --- Lints and types --------------------------------------------------------------------------

.PHONY: lint
lint: lint-rust lint-python ## Check format, lints, types, documentation and dependencies

.PHONY: lint-rust
lint-rust: $(VENV)/tools.stamp $(CARGO_DENY) target/fetched.stamp
	cargo fmt --all --check
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet
	$(CARGO_DENY) --log-level warn --offline --locked check bans licenses sources

.PHONY: lint-python
lint-python: $(VENV)/hurricane.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/stubtest hurricane._native --mypy-config-file pyproject.toml \
	  --allowlist .ci/stubtest-allowlist --ignore-unused-allowlist

# Once in the life of a checkout this costs a minute or two; unoptimised, it still runs in no time.
$(CARGO_DENY): Makefile | toolchain
	@[[ $$($@ --version 2>/dev/null) == 'cargo-deny $(CARGO_DENY_VERSION)' ]] \
	|| CARGO_PROFILE_DEV_DEBUG=false CARGO_TARGET_DIR=target/tools/build cargo install --quiet \
	     --debug --locked --no-default-features --root target/tools \
	     --version $(CARGO_DENY_VERSION) cargo-deny
	@rm -rf target/tools/build
	@touch $@

# Other systems' crates are never built here, but cargo-deny reads the whole list.
target/fetched.stamp: Cargo.lock | toolchain
	@cargo fetch --locked --quiet
	@mkdir -p target && touch $@

# --- The rest ---------------------------------------------------------------------------------

.PHONY: bench
bench: $(VENV)/hurricane.stamp ## Measure hurricane beside its peers: make bench WORK=W2 PEER=hurricane,ray
	@[[ target/bench/peers.stamp -nt benchmarks/requirements.txt ]] \
	|| { echo 'Installing the peers into target/bench/venv' \
	     && $(BIN)/python benchmarks/install.py target/bench/venv && touch target/bench/peers.stamp; } || true
	@target/bench/venv/bin/python -m benchmarks --work '$(WORK)' --peer '$(PEER)'

.PHONY: bench-plots
bench-plots: ## Put the last figures of `make bench` into docs/performance.md, and draw its plots
	@target/bench/venv/bin/python -m benchmarks.page

# Each layer alone, and how many decisions a second the scheduler makes on clusters of four sizes.
.PHONY: bench-core
bench-core: | toolchain ## Measure the layers of the core and the runtime, each alone
	cargo bench --quiet --locked -p hurricane-core --bench layers
	$(if $(wildcard crates/hurricane-runtime/benches/*.rs),cargo bench --quiet --locked -p hurricane-runtime --benches)
	cargo bench --quiet --locked -p hurricane-core --bench decisions

.PHONY: docs
docs: $(VENV)/tools.stamp ## Build the documentation of the Rust crates
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

.PHONY: format
format: $(VENV)/tools.stamp ## Format the sources
	cargo fmt --all
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format

.PHONY: clean
clean: ## Remove everything that make built
	rm -rf .venv target python/hurricane/*.so .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
