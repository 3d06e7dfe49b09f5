# Everything one can do here. `make help` lists it.
SHELL := bash
.DEFAULT_GOAL := help
# Fetched things and builds may live outside the clone: set these to share them between clones.
export HEADLAND_CACHE ?= $(CURDIR)/.cache
export CARGO_TARGET_DIR ?= $(CURDIR)/target
BINARY := $(CARGO_TARGET_DIR)/release/headland

.PHONY: help
help: ## List what one can do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: demo
demo: build fetch guests ## Build everything, serve two example apps over real models, ask them (ARGS=--once: then stop)
	python3 scripts/demo.py --binary $(BINARY) --cache $(HEADLAND_CACHE) $(ARGS)

.PHONY: demo-fleet
demo-fleet: build fetch guests ## Start a fleet on this machine, ask every PoP, kill one that holds a model (needs nats-server)
	scripts/demo_fleet.sh $(ARGS)

.PHONY: test
test: ## Install what the tests need and run them all
	scripts/test.sh

.PHONY: check
check: lint test ## What CI runs: lint and test

.PHONY: lint
lint: ## Format check, clippy, docs, dependency rules (cargo-deny, where installed)
	scripts/lint.sh

.PHONY: fmt
fmt: ## Format all Rust code
	cargo fmt --all
	cd guest-examples && cargo fmt --all

.PHONY: bench
bench: guests ## Measure the hot parts of our own code with criterion
	cargo bench --workspace --benches

.PHONY: bench-compare
bench-compare: fetch guests ## Measure ours against the floor and the peers, in one run: table, JSON, plots (ARGS=--quick)
	scripts/bench.sh run $(ARGS)

.PHONY: bench-check
bench-check: bench-compare ## The same, then hold the ratios against the recorded ones
	scripts/bench.sh check

.PHONY: bench-record
bench-record: ## Record the ratios of the last bench-compare
	scripts/bench.sh record

.PHONY: soak
soak: build ## Send 10,000 mixed requests to a language model, and see that memory comes back to where it was (ARGS=--requests N)
	scripts/bench.sh soak $(ARGS)

.PHONY: bench-llm
bench-llm: ## Measure language models against llama.cpp, on models made here (ARGS=--quick; 2.5 GB of cache)
	scripts/bench.sh llm $(ARGS)

.PHONY: bench-placement
bench-placement: ## Make the figures and plots of docs/placement.md, and simulate ten days of the fleet
	cargo run --release --locked -p headland-placement --example figures -- $(CARGO_TARGET_DIR)/placement
	cargo run --release --locked -p headland -- sim run world --out $(CARGO_TARGET_DIR)/placement

.PHONY: bench-infinity
bench-infinity: ## Install the peer infinity (over 5 GB with torch) for bench-compare
	scripts/bench.sh infinity

.PHONY: build
build: ## Build the headland binary in release
	cargo build --release --locked -p headland

.PHONY: guests
guests: ## Build the example guests into guest-examples/dist
	guest-examples/build.sh

.PHONY: fetch
fetch: ## Fetch ONNX Runtime and all-MiniLM-L6-v2 into the cache
	scripts/fetch.sh

.PHONY: clean
clean: ## Remove builds and fetched things of this clone
	rm -rf target guest-examples/target guest-examples/dist .cache
