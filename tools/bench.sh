#!/usr/bin/env bash
# Time the model's parts on this machine with the demo's small model, or with a checkpoint: bench.sh [MODEL_DIR]
# Small sizes say little about a real model; they show that the benchmark runs and what it prints.
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
model=${1:-${MODEL:-$BUILD/demo-model}}

if [ "$model" = "$BUILD/demo-model" ] && [ ! -f "$model/config.json" ]; then
    rm -rf "$model"
    "$BUILD/minicpmo" synth --config data/demo.json --seed 1 -o "$model"
fi
"$BUILD/minicpmo" bench "$model"
