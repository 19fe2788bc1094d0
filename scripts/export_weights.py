"""Keep of a checkpoint what rendering needs: the model and its normalisation.

python scripts/export_weights.py save/compact/epoch-last.pth weights/compact.pth
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse

from configs.command import outlive_output, run
from models.checkpoint import load_checkpoint, model_from, save_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep the model of a checkpoint.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    outlive_output()
    checkpoint = load_checkpoint(args.checkpoint)
    model_from(checkpoint, args.checkpoint)  # it fits this code
    kept = {
        key: value for key, value in checkpoint.items() if key in ("model", "data_norm", "guard")
    }
    save_checkpoint(args.output, kept)
    print(f"{args.output}: {args.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    run(main)
