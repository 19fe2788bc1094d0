"""Make the low-resolution side of a benchmark from a folder of high-resolution images.

    python scripts/prepare_lr.py --hr load/benchmark/Set5/HR --scale 2 3 4

writes ``LR_bicubic/X2/NAMEx2.png`` and so on beside the HR folder, as MATLAB's imresize does with
its bicubic kernel: the files equal the published LR files, bit for bit. Existing files with other
pixels are an error, raised before anything is written.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse

import numpy as np
from tqdm import tqdm

from cli.command import outlive_output, run
from datasets.image_file import (
    Channels,
    UnreadableError,
    check_targets,
    read_image,
    write_pixels,
)
from datasets.image_folder import ImageFolder
from errors import UserError


def keys_kernel(x: np.ndarray) -> np.ndarray:
    """Compute the kernel of cubic convolution with a = -1/2 (Keys, 1981)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def shrink_rows(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Shrink the first axis of 8- or 16-bit pixels by an integer, and round to the same depth.

    The kernel is stretched by the scale, so that it averages; taps outside use the edge pixel.
    """
    count = len(pixels) // scale
    centre = (np.arange(count) + 0.5) * scale - 0.5
    first = np.floor(centre - 2 * scale).astype(int)
    taps = first[:, None] + np.arange(4 * scale + 2)
    weights = keys_kernel((centre[:, None] - taps) / scale)
    weights /= weights.sum(1, keepdims=True)
    taps = taps.clip(0, len(pixels) - 1)
    shrunk = np.zeros((count, *pixels.shape[1:]))
    for tap, weight in zip(taps.T, weights.T, strict=True):
        shrunk += weight.reshape(-1, *[1] * (pixels.ndim - 1)) * pixels[tap]
    return np.floor(shrunk + 0.5).clip(0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def shrink(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Shrink (H, W[, C]) pixels by 1/scale, rows first, like MATLAB's bicubic imresize.

    The image is first cropped to multiples of the scale.
    """
    height, width = (n - n % scale for n in pixels.shape[:2])
    if min(height, width) == 0:
        raise UserError(f"{pixels.shape[0]}x{pixels.shape[1]} pixels are too few for x{scale}")
    rows = shrink_rows(pixels[:height, :width], scale)
    return shrink_rows(rows.swapaxes(0, 1), scale).swapaxes(0, 1)


Job = tuple[Path, int]  # an image and a scale


def main() -> None:
    parser = argparse.ArgumentParser(description="Make LR_bicubic/X2.. from a folder of images.")
    parser.add_argument("--hr", required=True, type=Path, metavar="DIR")
    parser.add_argument("--scale", type=int, nargs="+", default=[2, 3, 4], metavar="S")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: LR_bicubic beside it")
    parser.add_argument(
        "--channels", type=int, choices=(1, 3), default=3, help="1: gray; default 3"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files with other pixels")
    args = parser.parse_args()
    outlive_output()
    if min(args.scale) < 2:
        raise UserError("--scale: expected integers from 2")
    output = args.output or args.hr.parent / "LR_bicubic"
    files = ImageFolder(str(args.hr)).files
    targets = {
        (file, scale): output / f"X{scale}" / f"{file.stem}x{scale}.png"
        for file in files
        for scale in args.scale
    }
    check_targets((file, target) for (file, _), target in targets.items())
    kept = set() if args.overwrite else {job for job, path in targets.items() if path.exists()}
    refuse_others(
        [
            targets[job]
            for job, small in shrunk(kept, args.channels)
            if not shows(targets[job], small, args.channels)
        ]
    )
    for job, small in shrunk(targets.keys() - kept, args.channels):
        write_pixels(targets[job], small)
    print(f"{output}: {len(files)} images at {', '.join(f'x{s}' for s in args.scale)}")


def shrunk(jobs: Collection[Job], channels: Channels) -> Iterator[tuple[Job, np.ndarray]]:
    """Yield each job with its low-resolution pixels, in order; each image is read only once."""
    last: Path | None = None
    for file, scale in tqdm(sorted(jobs), disable=None):
        if file != last:
            last, pixels = file, read_image(file, channels)
        try:
            yield (file, scale), shrink(pixels, scale)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None


def shows(path: Path, pixels: np.ndarray, channels: Channels) -> bool:
    """Check whether an image file has exactly the given pixels."""
    try:
        return np.array_equal(read_image(path, channels), pixels)
    except UnreadableError:
        return False


def refuse_others(paths: list[Path]) -> None:
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        raise UserError(
            f"{paths[0]}{more}: there already, with other pixels; choose another --output, "
            "or replace them with --overwrite"
        )


if __name__ == "__main__":
    run(main)
