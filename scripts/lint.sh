#!/usr/bin/env bash
# Format, clippy with warnings as errors, docs without broken links, and the dependency rules where cargo-deny is there.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

step "format"
cargo fmt --all --check
(cd guest-examples && cargo fmt --all --check)
scripts/wasm-target.sh
step "clippy"
cargo clippy --release --locked --workspace --all-targets --quiet -- -D warnings
(cd guest-examples && cargo clippy --release --locked --workspace --quiet -- -D warnings)
step "docs"
RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps --quiet
step "dependencies"
if cargo deny --version >/dev/null 2>&1; then
    cargo deny --all-features check licenses bans sources
else
    echo "cargo-deny is not installed; licences, bans and sources are not checked (cargo install cargo-deny)"
fi
