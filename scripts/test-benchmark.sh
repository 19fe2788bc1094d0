#!/usr/bin/env bash
# The benchmark table of a checkpoint: bash scripts/test-benchmark.sh M.pth [options of test.py]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
model=${1:?usage: bash scripts/test-benchmark.sh M.pth [options of test.py]}
[ -x .venv/bin/python ] && PATH=$PWD/.venv/bin:$PATH
exec python test.py --model "$model" \
    --config configs/test/{set5,set14,b100,urban100}.yaml "${@:2}"
