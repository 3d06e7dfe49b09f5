#!/usr/bin/env bash
# A fleet on this machine, with the binary, the guests and the models that `make demo-fleet` built and fetched.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/python.sh
export HEADLAND_CACHE=${HEADLAND_CACHE:-$PWD/.cache}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
. scripts/clients.sh
python_clients
tools nats-server
export ORT_DYLIB_PATH=$HEADLAND_CACHE/onnxruntime/libonnxruntime.so
exec "$venv/bin/python" scripts/demo_fleet.py "$@"
