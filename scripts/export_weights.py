"""Export what rendering needs from a checkpoint: the model and its normalisation.

python scripts/export_weights.py save/compact/epoch-last.pth weights/compact.pth
python scripts/export_weights.py save/photo/epoch-last.pth weights/photo.pth --base weights/fast.pth
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse
from collections.abc import Mapping
from typing import Any

from cli.command import outlive_output, run
from errors import UserError
from models.checkpoint import (
    USE,
    WEIGHTS,
    base_file,
    checkpoint_file,
    load_checkpoint,
    model_from,
    norm_in,
    save_checkpoint,
)
from models.strength import fitting_base

KEPT = ("model", *USE)


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep the model of a checkpoint.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--base",
        metavar="M.pth",
        help="the model that this one was fine-tuned from, in weights/ or beside the output; "
        "they can then be blended, see --strength of demo.py",
    )
    args = parser.parse_args()
    outlive_output()
    checkpoint = load_checkpoint(args.checkpoint)
    model_from(checkpoint, args.checkpoint)  # check that it fits this code
    kept = {key: value for key, value in checkpoint.items() if key in KEPT}
    base = args.base
    if base is None and "base" in checkpoint:  # may exist only beside that file
        base = base_file(checkpoint, args.checkpoint)
    if base is not None:
        kept["base"] = base_name(checkpoint, args.checkpoint, base, args.output)
    save_checkpoint(args.output, kept)
    print(f"{args.output}: {args.output.stat().st_size:,} bytes")


def base_name(checkpoint: Mapping[str, Any], path: Path, base: str | Path, output: Path) -> str:
    """Choose the name by which a checkpoint refers to the one it was fine-tuned from.

    Args:
        path, output: File of the checkpoint, and file to export it to.
        base: File of the other checkpoint, or its name in weights/.

    Raises:
        UserError: If the base cannot be blended with it, or cannot be found from the output.
    """
    other = load_checkpoint(base)
    for name, norm in ((path, checkpoint), (base, other)):
        norm_in(norm, name)
    fitting_base(checkpoint, path, other, base)
    file = checkpoint_file(base).resolve()
    if file == output.resolve():
        raise UserError(f"{output}: would replace its own base; name another output")
    if file.parent == WEIGHTS and file.suffix == ".pth":
        return file.stem
    if file.parent == output.resolve().parent:
        return file.name
    raise UserError(f"{base}: lies neither in weights/ nor beside {output}: copy it there")


if __name__ == "__main__":
    run(main)
