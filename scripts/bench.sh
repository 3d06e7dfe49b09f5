#!/usr/bin/env bash
# Ours against the floor and the peers in one run, the table, and the plots: see benches/ and docs/benchmarks.md.
#   scripts/bench.sh run [OPTIONS]   measure (`--quick`: one short round)
#   scripts/bench.sh check           hold the last run against benches/recorded.json
#   scripts/bench.sh record          make the last run the recorded one
#   scripts/bench.sh soak [OPTIONS]  thousands of mixed requests to a language model: benches/soak.py
#   scripts/bench.sh llm [OPTIONS]   measure language models against llama.cpp (`--quick`: one short round)
#   scripts/bench.sh infinity        install the peer that is too large to install unasked
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/python.sh
export HEADLAND_CACHE=${HEADLAND_CACHE:-$PWD/.cache}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
bench=$CARGO_TARGET_DIR/release/headland-bench
out=$CARGO_TARGET_DIR/bench

# A virtual environment in the cache with these requirements, made again when they change.
environment() {
    local venv=$HEADLAND_CACHE/bench/$1 requirements=benches/peers/$2 wanted
    wanted=$(sha256sum "$requirements" | cut -c1-16)
    [ "$(cat "$venv/.requirements" 2>/dev/null)" = "$wanted" ] && return
    echo "bench: installing $requirements into $venv"
    mkdir -p "$HEADLAND_CACHE/bench"
    make_venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
    echo "$wanted" > "$venv/.requirements"
}

# `wasmtime serve` of the version that ours is built on, into the cache: ten minutes, once. One on PATH is used as it is.
wasmtime_cli() {
    command -v wasmtime > /dev/null && return
    local root=$HEADLAND_CACHE/bench/wasmtime version
    version=$(sed -n '/^name = "wasmtime"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
    if [ "$(cat "$root/.version" 2>/dev/null)" != "$version" ]; then
        echo "bench: installing wasmtime-cli $version into $root (ten minutes, once)"
        cargo install wasmtime-cli --version "$version" --locked --root "$root" --target-dir "$CARGO_TARGET_DIR/wasmtime-cli" \
            --no-default-features --features run,serve,component-model-async,cranelift,pooling-allocator,parallel-compilation
        rm -rf "$CARGO_TARGET_DIR/wasmtime-cli"
        echo "$version" > "$root/.version"
    fi
    export PATH=$root/bin:$PATH
}

# As the tests build: then their dependencies are the same ones.
build() { cargo build --release --locked --workspace --all-targets; }

action=${1:-run}
shift || true
case "$action" in
    run)
        environment venv requirements.txt
        # It is hello's peer alone.
        [[ "$*" == *--only* && "$*" != *hello* ]] || wasmtime_cli
        build
        "$bench" run --binary "$CARGO_TARGET_DIR/release/headland" --cache "$HEADLAND_CACHE" --out "$out" "$@"
        "$HEADLAND_CACHE/bench/venv/bin/python" benches/plots.py "$out/figures.json" "$out/plots"
        echo "figures, table and plots: $out"
        ;;
    check) build && "$bench" check "$out/figures.json" benches/recorded.json ;;
    record) build && "$bench" record "$out/figures.json" benches/recorded.json ;;
    soak)
        environment venv requirements.txt
        python="$HEADLAND_CACHE/bench/venv/bin/python"
        "$python" benches/soak.py --binary "$CARGO_TARGET_DIR/release/headland" --out "$out" "$@"
        "$python" benches/plots.py "$out/soak.json" "$out/plots"
        echo "figures and plot: $out/soak.json, $out/plots/soak.svg"
        ;;
    llm)
        # Compiles llama.cpp for this machine, the first time; without AMX, whose tile configuration GCC 12 optimises away: it
        # would end at its first product.
        export PIP_NO_CACHE_DIR=1
        export CMAKE_ARGS="-DCMAKE_C_FLAGS='-mno-amx-tile -mno-amx-int8' -DCMAKE_CXX_FLAGS='-mno-amx-tile -mno-amx-int8'"
        environment llama llama.txt
        build
        "$CARGO_TARGET_DIR/release/headland-bench-llm" --cache "$HEADLAND_CACHE" --out "$out-llm" "$@"
        # What the gateway and its events add to the engine, a token.
        cargo bench --locked --workspace --bench generation
        echo "figures: $out-llm"
        ;;
    infinity) environment infinity infinity.txt ;;
    *) echo "scripts/bench.sh: $action is none of run, check, record, soak, llm, infinity" >&2; exit 2 ;;
esac
