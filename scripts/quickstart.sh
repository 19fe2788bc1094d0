#!/usr/bin/env bash
# Renders photographs with the model in weights/ and compares it with bicubic.
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh" requirements.txt
python scripts/quickstart_images.py
for model in bicubic fast; do
    echo "$model, on a photograph that was shrunk first:"
    python test.py --config configs/quickstart/test.yaml --model "$model" | grep '^|'
done
python scripts/compare.py --config configs/quickstart/test.yaml --scale 4 --output comparison.png
python demo.py --input load/quickstart/rocket.png --scale 4 --output output.png --overwrite
python demo.py --input load/quickstart/rocket.png --scale 3.7 --output output-x3.7.png --overwrite
