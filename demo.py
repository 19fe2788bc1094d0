"""Render an image at any size.

python demo.py --input photo.png --scale 3.7 --output large.png
python demo.py --input photo.png --model M.pth --resolution 1080,1920 --output large.png
"""

from __future__ import annotations

import argparse

import torch

from configs.command import add_gpu_option, add_model_option, choose_devices, parse_pair, run
from configs.spec import UserError
from datasets.image_file import check_output, read_image, to_unit, write_image
from engine import super_resolve
from models.checkpoint import load_model

MAX_PIXELS = 2**29  # an output is held in memory, with 32 bytes a pixel


def main() -> None:
    args = parse_args()
    check_output(args.output)
    image = to_unit(torch.from_numpy(read_image(args.input)).permute(2, 0, 1))
    size = output_size((image.shape[1], image.shape[2]), args.resolution, args.scale)
    model, data_norm = load_model(args.model)
    model.to(choose_devices(args.gpu)[0])
    write_image(args.output, super_resolve(model, image, size, data_norm))
    print(f"{args.output}: {size[0]}x{size[1]} pixels")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Render an image at any size.")
    parser.add_argument("--input", required=True, metavar="I.png")
    add_model_option(parser)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--resolution", type=_resolution, metavar="H,W", help="pixels of the output")
    size.add_argument(
        "--scale", type=_scale, metavar="S", help="factor, e.g. 3.7; or SH,SW for rows and columns"
    )
    parser.add_argument("--output", default="output.png", metavar="O.png")
    add_gpu_option(parser)
    return parser.parse_args()


def _resolution(text: str) -> tuple[float, float]:
    if "," not in text:
        raise argparse.ArgumentTypeError(f"expected H,W, got {text!r}")
    return parse_pair(text, int)


def _scale(text: str) -> tuple[float, float]:
    return parse_pair(text, float)


def output_size(
    inp: tuple[int, int], resolution: tuple[int, int] | None, scale: tuple[float, float] | None
) -> tuple[int, int]:
    """Rows and columns of the output.

    Raises:
        UserError: If it would have no pixels, or too many.
    """
    if resolution is not None:
        height, width = resolution
    else:
        assert scale is not None
        height, width = (round(n * s) for n, s in zip(inp, scale, strict=True))
        if min(height, width) < 1:
            raise UserError(f"--scale: {inp[0]}x{inp[1]} pixels at this scale are less than one")
    if height * width > MAX_PIXELS:
        raise UserError(f"{height}x{width} pixels are more than the {MAX_PIXELS} that are allowed")
    return height, width


if __name__ == "__main__":
    run(main)
