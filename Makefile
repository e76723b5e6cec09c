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

# Which build `pages`, `deb` and `install` take: release or debug.
PROFILE ?= release
BUILD_DIR = $(TARGET_DIR)/$(PROFILE)
PROFILE_FLAG = $(if $(filter release,$(PROFILE)),--release)
PROGRAM ?= $(BUILD_DIR)/fanwheel
PAGES ?= $(TARGET_DIR)/pages
# Where `install` puts things. DESTDIR is put in front of each, for packages.
PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
ZSH_COMPLETIONS ?= $(PREFIX)/share/zsh/site-functions
PURGE ?=
PLACES = DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" UNITDIR="$(UNITDIR)" \
	ZSH_COMPLETIONS="$(ZSH_COMPLETIONS)" PROGRAM="$(PROGRAM)" PAGES="$(PAGES)"
# Where `deb` puts the package, and `dist` the tarball.
DEB_DIR ?= $(TARGET_DIR)/deb
DIST_DIR ?= $(TARGET_DIR)/dist
# The tarball's program is built apart, by the compiler as `packaging/rustc-remapped` runs it.
DIST_BUILD = $(abspath $(DIST_DIR))/build

COMPARE = cargo build --release --locked --quiet --bin fanwheel --example compare && \
	$(TARGET_DIR)/release/examples/compare

.DEFAULT_GOAL := help
.PHONY: help run demo demo-cluster build check test words clients client-test proxies monitoring sim-check fuzz bench bench-100k bench-1m compare peers scale deny \
	pages install uninstall deb dist package-test

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build and start the server with its defaults (ARGS="--flag value" to change them)
	cargo run --release --locked -- serve $(ARGS)

demo: ## Serve the example pages, with a server behind them (needs Node and npm)
	cargo build --release --locked
	PROGRAM=$(TARGET_DIR)/release/fanwheel examples/browser/run

demo-cluster: ## Serve from three nodes with a Redis and HAProxy (needs redis-server, haproxy and curl)
	cargo build --release --locked
	PROGRAM=$(TARGET_DIR)/release/fanwheel examples/cluster/run

build: ## Build the release program
	cargo build --release --locked

pages: ## Write man pages, shell completions and a default configuration file
	cargo run $(PROFILE_FLAG) --locked --quiet --example pages -- $(PAGES)

install: ## Install what `make build pages` made (PREFIX=/usr/local DESTDIR=)
	@test -x $(PROGRAM) && test -d $(PAGES)/man || \
		{ echo "nothing to install yet: first run \`make build pages\`, without root" >&2; exit 1; }
	$(PLACES) packaging/install

uninstall: ## Remove what `make install` installed; PURGE=1 removes the configuration file too
	$(PLACES) PURGE="$(PURGE)" packaging/uninstall

deb: ## Make a Debian package of the program, units, pages, documents, tuning and monitoring
	$(MAKE) --no-print-directory pages
	cargo build $(PROFILE_FLAG) --locked --quiet --bin fanwheel
	PROGRAM=$(PROGRAM) PAGES=$(PAGES) packaging/build-deb $(DEB_DIR)

dist: ## Make a tarball of the same, for hosts without Rust: the same bytes in whatever folder it is built
	DIST_BUILD=$(DIST_BUILD) DIST_SOURCE=$(CURDIR) CARGO_TARGET_DIR=$(DIST_BUILD) CARGO_INCREMENTAL=0 \
		RUSTC_WRAPPER=$(CURDIR)/packaging/rustc-remapped \
		cargo build $(PROFILE_FLAG) --locked --quiet --bin fanwheel --example pages
	$(DIST_BUILD)/$(PROFILE)/examples/pages $(DIST_BUILD)/pages
	PROGRAM=$(DIST_BUILD)/$(PROFILE)/fanwheel PAGES=$(DIST_BUILD)/pages packaging/build-dist $(DIST_DIR)

check: ## The quick loop: format, lints, unit tests, house rules, simulator (two minutes after a build)
	tests/check

test: ## Everything that must pass: format, lints, unit, simulation, black-box, real clients, proxies and Prometheus, licences
	tests/run

words: ## Measure the words of names, comments and documents (OFFENDERS=1 lists the places)
	cargo test --locked --quiet --test tidy words -- --nocapture --test-threads 1

clients: ## Only the real clients against the real server
	tests/clients/run

client-test: ## Only the client library of pages, under Node
	tests/library/run

monitoring: ## Only the shipped Prometheus rules and Grafana dashboard, with a real Prometheus
	tests/monitoring/run

proxies: ## Only the real proxies before the real server
	tests/proxies/run

package-test: ## Only the Debian package: built, installed in an overlay, served from, purged
	tests/package/run

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

bench: ## Measure the core with criterion, every scenario against the bare send loop, and what `plan` reckons with
	cargo bench --locked
	$(COMPARE) peers --peers bare,fanwheel,fanwheel-writev --rounds 1 --record bench
	$(COMPARE) constants --rounds 1

bench-100k: ## Hold 100 000 connections, idle and through a broadcast, and what `plan` says of so many
	$(COMPARE) hold 100000
	$(COMPARE) constants --check

bench-1m: ## Hold 1 000 000 connections, idle and through a broadcast (12 GiB, both ends)
	$(COMPARE) hold 1000000

compare: ## Measure against every peer that can be built here, then over sizes and rates (an hour)
	$(COMPARE) peers $(if $(PEERS),--peers $(PEERS)) --rounds $(ROUNDS)
	$(COMPARE) sizes
	$(COMPARE) growth
	$(COMPARE) shaping
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
