#!/usr/bin/env bash
# Has rustup install the target that guests are built for, where rustup does not do so by itself (RUSTUP_AUTO_INSTALL=0). Does
# nothing when it is there, or when there is no rustup to ask.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v rustup >/dev/null || exit 0
rustup target list --installed | grep -qx wasm32-wasip2 || rustup target add wasm32-wasip2
