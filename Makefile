# What can be done with a checkout. `make help` lists it.

# Seconds for each fuzz target.
FUZZ_SECONDS ?= 60
# Further arguments for `make run`, such as ARGS="--heartbeat-ms 5000".
ARGS ?=
# What `make scale` measures; empty for everything. `make scale SCENARIO=help` lists it.
SCENARIO ?=

# Runs of each peer in each scenario of `make compare`, and which peers; empty for all.
ROUNDS ?= 5
PEERS ?=

TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)

COMPARE = cargo build --release --locked --quiet --bin fanwheel --example compare && \
	$(TARGET_DIR)/release/examples/compare

.DEFAULT_GOAL := help
.PHONY: help run build test clients proxies monitoring sim-check fuzz bench bench-100k bench-1m compare peers scale deny

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build and start the server with its defaults (ARGS="--flag value" to change them)
	cargo run --release --locked -- serve $(ARGS)

build: ## Build the release program
	cargo build --release --locked

test: ## Everything that must pass: format, lints, unit, simulation, black-box, real clients, proxies and Prometheus, licences
	tests/run

clients: ## Only the real clients against the real server
	tests/clients/run

monitoring: ## Only the shipped Prometheus rules and Grafana dashboard, with a real Prometheus
	tests/monitoring/run

proxies: ## Only the real proxies before the real server
	tests/proxies/run

sim-check: ## Plant known bugs in the core and see that the simulator finds each
	tests/sim/check-mutants.sh

fuzz: ## Fuzz each parser for FUZZ_SECONDS (60)
	tests/install.sh fuzz
	@set -e; for target in $$(RUSTC_BOOTSTRAP=1 cargo fuzz list); do \
		echo "== fuzz $$target, $(FUZZ_SECONDS) s"; \
		mkdir -p fuzz/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-dict=fuzz/http.dict -max_len=4096 -max_total_time=$(FUZZ_SECONDS); \
	done

bench: ## Measure the core with criterion, then every scenario against the bare send loop
	cargo bench --locked
	$(COMPARE) peers --peers bare,fanwheel,fanwheel-writev --rounds 1 --record bench

bench-100k: ## Hold 100 000 connections, idle and through a broadcast
	$(COMPARE) hold 100000

bench-1m: ## Hold 1 000 000 connections, idle and through a broadcast (12 GiB, both ends)
	$(COMPARE) hold 1000000

compare: ## Measure against every peer that can be built here, then over sizes and rates (an hour)
	$(COMPARE) peers $(if $(PEERS),--peers $(PEERS)) --rounds $(ROUNDS)
	$(COMPARE) sizes
	$(COMPARE) growth
	$(COMPARE) rates --peers bare,fanwheel,uws-cpp,node-blog,go

peers: ## Build every peer of `make compare` and check that it serves
	benches/peers/check

scale: ## Measure the release program under SCENARIO (empty: under all)
	tests/install.sh scale
	cargo build --release --locked --bin fanwheel --example scale
	$(TARGET_DIR)/release/examples/scale $(SCENARIO)

deny: ## Check licences, duplicates and sources of all dependencies
	tests/install.sh deny
	cargo deny --locked check bans licenses sources
