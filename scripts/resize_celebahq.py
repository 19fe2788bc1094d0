"""Make the images of the celebAHQ experiments, in all sizes, from the 1024x1024 images.

    python scripts/resize_celebahq.py --input celebAHQ/1024 --output load/celebAHQ

writes ``OUTPUT/256``, ``128``, ``64`` and ``32`` with Pillow's bicubic, each from the input, and
``OUTPUT/split.json`` unless it exists: every tenth image is in the list ``val``, the others are in
``train``.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse
import json

import torch
from tqdm import tqdm

from cli.command import outlive_output, run
from datasets.image_file import check_targets, read_image, resize_bicubic, write_pixels
from datasets.image_folder import ImageFolder
from errors import UserError
from files.whole import written_whole

VAL_EVERY = 10


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the sizes of the celebAHQ experiments.")
    parser.add_argument("--input", required=True, type=Path, metavar="DIR")
    parser.add_argument("--output", type=Path, default=Path("load/celebAHQ"), metavar="DIR")
    parser.add_argument("--size", type=int, nargs="+", default=[256, 128, 64, 32], metavar="N")
    args = parser.parse_args()
    outlive_output()
    if min(args.size) < 1:
        raise UserError("--size: expected positive sizes")
    files = ImageFolder(str(args.input)).files
    check_targets(
        (file, args.output / str(size) / f"{file.stem}.png") for file in files for size in args.size
    )
    for file in tqdm(files, disable=None):
        pixels = torch.from_numpy(read_image(file)).permute(2, 0, 1)
        for size in args.size:
            small = resize_bicubic(pixels, size, size).permute(1, 2, 0).contiguous().numpy()
            write_pixels(args.output / str(size) / f"{file.stem}.png", small)
    write_split(args.output / "split.json", [f"{file.stem}.png" for file in files])
    print(f"{args.output}: {len(files)} images at {', '.join(map(str, args.size))}")


def write_split(path: Path, names: list[str]) -> None:
    """Write the split, with every tenth name for validation; an existing split is kept."""
    if path.exists():
        print(f"{path}: kept as it is")
        return
    val = names[::VAL_EVERY]
    split = {"train": sorted(set(names) - set(val)), "val": val}
    with written_whole(path) as file:
        file.write(json.dumps(split, indent=1).encode())


if __name__ == "__main__":
    run(main)
