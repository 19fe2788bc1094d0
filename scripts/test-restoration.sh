#!/usr/bin/env bash
# The table of JPEG and noise: bash scripts/test-restoration.sh M.pth [options of test.py]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
model=${1:?usage: bash scripts/test-restoration.sh M.pth [options of test.py]}
[ -x .venv/bin/python ] && PATH=$PWD/.venv/bin:$PATH
exec python test.py --model "$model" \
    --config configs/test/{live1,cbsd68,set14-degraded,b100-degraded}.yaml "${@:2}"
