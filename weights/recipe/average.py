"""Average the weights of checkpoints that share one architecture.

    python weights/recipe/average.py weights/fast.pth save/a/epoch-last.pth new.pth --shares 1 2

Averaging works well for models that were fine-tuned from the same one: Wortsman et al., "Model
soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time", ICML 2022.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse
import math

from cli.command import outlive_output, run
from errors import UserError
from models.checkpoint import USE, load_checkpoint, model_from, norm_in, save_checkpoint
from models.strength import average, check_same_kind


def main() -> None:
    parser = argparse.ArgumentParser(description="Average the weights of checkpoints.")
    parser.add_argument("checkpoint", type=Path, nargs="+")
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--shares", type=float, nargs="+", help="of each, in proportion; default: all the same"
    )
    args = parser.parse_args()
    outlive_output()
    shares = args.shares or [1.0] * len(args.checkpoint)
    if len(shares) != len(args.checkpoint):
        raise UserError(f"--shares: {len(shares)} for {len(args.checkpoint)} checkpoints")
    if not all(0 <= share < math.inf for share in shares) or not sum(shares):
        raise UserError(f"--shares {shares}: expected numbers from 0 on, and one above 0")
    if args.output.exists():
        raise UserError(f"{args.output}: is there already; name another file")
    loaded = [load_checkpoint(path) for path in args.checkpoint]
    for path, checkpoint in zip(args.checkpoint, loaded, strict=True):
        model_from(checkpoint, path)  # check that it fits this code
        norm_in(checkpoint, path)
        check_same_kind(checkpoint, path, loaded[0], args.checkpoint[0])
        for key in ("guard", "restores"):
            if checkpoint.get(key) != loaded[0].get(key):
                raise UserError(f"{path}: {key} differs from that of {args.checkpoint[0]}")
    sd = average([checkpoint["model"]["sd"] for checkpoint in loaded], shares)
    kept = {key: value for key, value in loaded[0].items() if key in USE}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(args.output, {**kept, "model": {**loaded[0]["model"], "sd": sd}})
    print(f"{args.output}: the average of {len(loaded)}")


if __name__ == "__main__":
    run(main)
