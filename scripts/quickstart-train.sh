#!/usr/bin/env bash
# Trains a small LIIF on a few photographs, compares it with bicubic, and renders output-trained.png.
# Run again, it continues where it was stopped.
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh" requirements.txt
python scripts/quickstart_images.py
python train_liif.py --config configs/quickstart/train.yaml --name quickstart --resume
for model in bicubic save/quickstart/epoch-best.pth; do
    echo "$model on a photograph it has not seen:"
    python test.py --config configs/quickstart/test.yaml --model "$model" | grep '^|'
done
python demo.py --input load/quickstart/rocket.png --model save/quickstart/epoch-best.pth \
    --scale 3.7 --output output-trained.png --overwrite
