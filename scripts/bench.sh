#!/usr/bin/env bash
# Ours against the floor and the peers in one run: see benches/ and docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."
export HEADLAND_CACHE=${HEADLAND_CACHE:-$PWD/.cache}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --release --locked --workspace --all-targets
exec "$CARGO_TARGET_DIR/release/headland-bench" --binary "$CARGO_TARGET_DIR/release/headland" --cache "$HEADLAND_CACHE" "$@"
