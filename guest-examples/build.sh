#!/usr/bin/env bash
# Builds every guest in release and copies the components to dist/, where the app manifests look for them.
set -euo pipefail
cd "$(dirname "$0")"
../scripts/wasm-target.sh
target=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --release --locked --quiet --workspace --bins --examples
mkdir -p dist
for component in "$target"/wasm32-wasip2/release/{semantic-search,digits,chat-guard}.wasm \
    "$target"/wasm32-wasip2/release/examples/*.wasm; do
    name=$(basename "$component")
    # The hashed twins that cargo leaves beside examples are not ours to copy.
    [[ $name =~ -[0-9a-f]{16}\.wasm$ ]] && continue
    cp "$component" "dist/${name//-/_}"
done
