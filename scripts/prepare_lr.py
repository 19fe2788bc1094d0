"""Make the low-resolution side of a benchmark from a folder of high-resolution images.

    python scripts/prepare_lr.py --hr load/benchmark/Set5/HR --scale 2 3 4

writes ``LR_bicubic/X2/NAMEx2.png`` and so on beside the HR folder, as MATLAB's imresize with its
bicubic kernel does: the published LR files, bit for bit.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse

import numpy as np
from tqdm import tqdm

from configs.command import outlive_output, run
from configs.spec import UserError
from datasets.image_file import read_image, write_pixels
from datasets.image_folder import ImageFolder


def keys_kernel(x: np.ndarray) -> np.ndarray:
    """Cubic convolution with a = -1/2 (Keys, 1981)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def shrink_rows(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Shrink the first axis of 8-bit pixels by an integer, rounding to 8 bits.

    The kernel is stretched by the scale, so that it averages; taps outside take the edge pixel.
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
    return np.floor(shrunk + 0.5).clip(0, 255).astype(np.uint8)


def shrink(pixels: np.ndarray, scale: int) -> np.ndarray:
    """MATLAB's bicubic imresize by 1/scale of (H, W[, C]) 8-bit pixels, rows first.

    The image is first cut to multiples of the scale.
    """
    height, width = (n - n % scale for n in pixels.shape[:2])
    if min(height, width) == 0:
        raise UserError(f"{pixels.shape[0]}x{pixels.shape[1]} pixels are too few for x{scale}")
    rows = shrink_rows(pixels[:height, :width], scale)
    return shrink_rows(rows.swapaxes(0, 1), scale).swapaxes(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make LR_bicubic/X2.. from a folder of images.")
    parser.add_argument("--hr", required=True, type=Path, metavar="DIR")
    parser.add_argument("--scale", type=int, nargs="+", default=[2, 3, 4], metavar="S")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: LR_bicubic beside it")
    args = parser.parse_args()
    outlive_output()
    if min(args.scale) < 2:
        raise UserError("--scale: expected integers from 2")
    output = args.output or args.hr.parent / "LR_bicubic"
    files = ImageFolder(str(args.hr)).files
    for file in tqdm(files, disable=None):
        pixels = read_image(file)
        for scale in args.scale:
            try:
                small = shrink(pixels, scale)
            except UserError as error:
                raise UserError(f"{file}: {error}") from None
            write_pixels(output / f"X{scale}" / f"{file.stem}x{scale}.png", small)
    print(f"{output}: {len(files)} images at {', '.join(f'x{s}' for s in args.scale)}")


if __name__ == "__main__":
    run(main)
