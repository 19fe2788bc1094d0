"""Make a training folder of photographs and smaller copies of them.

    python weights/recipe/shrink_photos.py --input photos --output load/compact

Test sets have small images with sharp details, and shrinking makes photographs more like them.
Copies whose shorter side would be less than ``--min-side`` are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse

import torch
from tqdm import tqdm

from cli.command import outlive_output, run
from datasets.image_file import check_targets, read_image, resize_bicubic, write_pixels
from datasets.image_folder import ImageFolder
from errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description="Write photographs and smaller copies of them.")
    parser.add_argument("--input", required=True, type=Path, metavar="DIR")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--factor", type=float, nargs="+", default=[1.0, 0.7, 0.5, 0.35], metavar="F"
    )
    parser.add_argument("--min-side", type=int, default=200, metavar="N", help="default 200")
    parser.add_argument("--gray", action="store_true", help="without colours, named -gray")
    args = parser.parse_args()
    outlive_output()
    if not all(0 < factor <= 1 for factor in args.factor):
        raise UserError("--factor: expected numbers above 0, up to 1")
    if len({round(100 * factor) for factor in args.factor}) < len(args.factor):
        raise UserError("--factor: two are the same to 1/100, which names the copies")
    if args.output.resolve() == args.input.resolve():
        raise UserError(f"--output {args.output}: is the input; name another folder")
    files = ImageFolder(str(args.input)).files
    check_targets((f, target(args, f, factor)) for f in files for factor in args.factor)
    count = 0
    for file in tqdm(files, disable=None):
        pixels = torch.from_numpy(read_image(file, 1 if args.gray else 3)).permute(2, 0, 1)
        for factor in args.factor:
            height, width = (round(n * factor) for n in pixels.shape[1:])
            if factor < 1 and min(height, width) < args.min_side:
                continue
            small = pixels if factor == 1 else resize_bicubic(pixels, height, width)
            path = target(args, file, factor)
            write_pixels(path, small.permute(1, 2, 0).contiguous().numpy())
            count += 1
    print(f"{args.output}: {count} images")


def target(args: argparse.Namespace, file: Path, factor: float) -> Path:
    """Choose the file to which a copy of an image is written."""
    return args.output / f"{file.stem}-{round(100 * factor):03d}{'-gray' * args.gray}.png"


if __name__ == "__main__":
    run(main)
