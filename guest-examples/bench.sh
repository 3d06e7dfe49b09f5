#!/usr/bin/env bash
# What a guest pays for being one: the same preprocessing native, and as a guest runs it. Needs wasmtime on PATH.
set -euo pipefail
cd "$(dirname "$0")"
cargo bench --quiet --locked -p preprocess --target host-tuple --bench preprocess
CARGO_TARGET_WASM32_WASIP2_RUNNER="wasmtime run" cargo bench --quiet --locked -p preprocess --bench preprocess
