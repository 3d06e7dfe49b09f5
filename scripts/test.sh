#!/usr/bin/env bash
# Installs what the tests need (the Wasm target, the ONNX Runtime library, the example model, Python clients, skopeo,
# nats-server, libfaketime) and runs them all. REQUIRE_*: a part that is missing fails its tests instead of skipping them.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/python.sh
export HEADLAND_CACHE=${HEADLAND_CACHE:-$PWD/.cache}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export REQUIRE_ONNXRUNTIME=1 REQUIRE_MODELS=1 REQUIRE_GUESTS=1 REQUIRE_NATS=1 REQUIRE_E2E=1
. scripts/clients.sh
step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

step "fetch models and libraries"
scripts/fetch.sh
export ORT_DYLIB_PATH=$HEADLAND_CACHE/onnxruntime/libonnxruntime.so

step "Python clients"
python_clients
# skopeo is a registry client that others push and pull with, nats-server what a fleet's control plane stands on, and faketime
# has clocks that are wrong.
tools skopeo nats-server faketime

step "example guests"
guest-examples/build.sh
(cd guest-examples && cargo test --quiet --locked --workspace --lib --tests --target host-tuple)

# One build for the tests and the binary: built together, their dependencies are the same ones.
step "build"
cargo build --release --locked --workspace --all-targets

# The same cases in every run, so that a change is what a failure comes from; PROPTEST_RNG_SEED=N tries others.
export PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-1}"

step "Rust tests"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --release --locked --workspace
else
    cargo test --release --locked --workspace --quiet
fi

step "end-to-end tests with real clients"
HEADLAND_BINARY=$CARGO_TARGET_DIR/release/headland "$venv/bin/python" -m pytest tests -q
