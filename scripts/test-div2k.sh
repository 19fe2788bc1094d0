#!/usr/bin/env bash
# The DIV2K table of a checkpoint: bash scripts/test-div2k.sh M.pth [options of test.py]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
model=${1:?usage: bash scripts/test-div2k.sh M.pth [options of test.py]}
[ -x .venv/bin/python ] && PATH=$PWD/.venv/bin:$PATH
exec python test.py --model "$model" --config configs/test/div2k.yaml "${@:2}"
