#!/usr/bin/env bash
# Speed on this machine: the kernels beside the machine's limits, the encoders at full size with made-up weights, and a
# whole model. Quiet the machine first: figures move with whatever else runs.
#
#   bench.sh [MODEL_DIR]     without it the demo's small model, which shows the output but says little about a real one
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
model=${1:-${MODEL:-$BUILD/demo-model}}

if [ "$model" = "$BUILD/demo-model" ] && [ ! -f "$model/config.json" ]; then
    rm -rf "$model"
    "$BUILD/minicpmo" synth --config data/demo.json --seed 1 -o "$model"
fi
echo "== kernels"
"$BUILD/bench/bench_kernels"
echo "== encoders"
"$BUILD/bench/bench_encoders"
echo "== $model"
"$BUILD/minicpmo" bench "$model"
