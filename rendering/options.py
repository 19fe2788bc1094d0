"""The command line of demo.py. Nothing here imports torch, so that --help is quick."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from cli.command import DEFAULT_MODEL, add_gpu_option, add_model_option, parse_pair

OUTPUT = "output.png"
PRINT_DPI = 300.0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Render images at any size.")
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        metavar="I.png",
        help="images, folders, or patterns such as 'photos/*.png'; - reads one from stdin",
    )
    add_model_option(parser)
    parser.set_defaults(model=None)  # to tell the default from what is asked for
    parser.add_argument(
        "--strength",
        type=_strength,
        metavar="S",
        help="of a model that was fine-tuned from another: 0 is that one, 1 the model itself",
    )
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--resolution", type=_resolution, metavar="H,W", help="pixels of the output")
    size.add_argument(
        "--scale", type=_scale, metavar="S", help="factor, e.g. 3.7; or SH,SW for rows and columns"
    )
    size.add_argument("--long-side", type=_count, metavar="N", help="pixels of the longer side")
    size.add_argument(
        "--print",
        type=_paper,
        dest="paper",
        metavar="60x40cm",
        help="width x height of a print, in cm, mm or in; or A0 to A6, turned as the picture lies",
    )
    parser.add_argument(
        "--dpi",
        type=_dpi,
        metavar="N",
        help="pixels per inch, written into the file; of --print, 300 unless given",
    )
    parser.add_argument(
        "--fit",
        choices=("crop", "pad", "stretch"),
        help="where the output has another shape than the input: cut off, add white, or distort",
    )
    parser.add_argument(
        "--region",
        type=_region,
        metavar="TOP,LEFT,HEIGHT,WIDTH",
        help="render this part only, in pixels of the input",
    )
    parser.add_argument(
        "--wrap",
        action="store_true",
        help="of a texture that is laid in rows and columns: the edges fit the opposite ones",
    )
    parser.add_argument(
        "--output",
        metavar="O.png",
        help="a file, default output.png; a folder, in which names stay the same; - is stdout",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace outputs that are there; never an input"
    )
    parser.add_argument("--quality", type=_quality, default=95, help="of JPEG and WebP; default 95")
    parser.add_argument("--lossless", action="store_true", help="of WebP: every pixel as it is")
    parser.add_argument(
        "--strip",
        action="store_true",
        help="leave out EXIF, XMP, IPTC, texts and density; the colour profile stays",
    )
    parser.add_argument(
        "--tile",
        type=_tile,
        metavar="N",
        help="input pixels encoded at a time, N x N; 0: all; default: what fits into the memory",
    )
    parser.add_argument(
        "--max-pixels",
        type=_count,
        metavar="N",
        help="the largest output; default 1073741824, 32768 x 32768",
    )
    parser.add_argument(
        "--max-input-pixels",
        type=_count,
        metavar="N",
        help="the largest input; default 268435456",
    )
    many = parser.add_argument_group("for a folder of outputs")
    many.add_argument("--suffix", default="", help="appended to the names, such as _x4")
    many.add_argument(
        "--ext",
        type=_ending,
        metavar="png",
        help="format of the outputs, also of stdout; default: of the inputs",
    )
    one = parser.add_argument_group("to look at; then the image itself is only made with --output")
    one.add_argument("--compare", metavar="C.png", help="input, bicubic and model, in details")
    one.add_argument("--zoom-video", metavar="Z.mp4", help="a zoom up to --scale; .mp4 or .gif")
    one.add_argument("--zoom-at", type=_point, metavar="Y,X", help="where to; default: the middle")
    add_gpu_option(parser)
    args = parser.parse_args()
    args.default_model = args.model is None
    args.model = DEFAULT_MODEL if args.model is None else args.model
    return args


def looks(args: argparse.Namespace) -> dict[str, str]:
    """Get the comparison and the video that are asked for, by their options."""
    given = {"--compare": args.compare, "--zoom-video": args.zoom_video}
    return {option: target for option, target in given.items() if target}


def _resolution(text: str) -> tuple[float, float]:
    if "," not in text:
        raise argparse.ArgumentTypeError(f"expected H,W, got {text!r}")
    return parse_pair(text, int)


class Scale(tuple[float, float]):
    """The factors of rows and columns, with the text they were given as."""

    text: str


def _scale(text: str) -> Scale:
    rows, comma, cols = text.partition(",")
    if comma and cols.isdecimal() and rows.strip("0") == "":
        raise argparse.ArgumentTypeError(f"{text!r}: for the number write 0.{cols}")
    scale = Scale(parse_pair(text, float))
    scale.text = text
    return scale


def _paper(text: str) -> Any:
    from rendering.prints import parse_paper

    try:
        return parse_paper(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _dpi(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 1 <= number <= 65535:  # the range of JPEG
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 65535, got {text[:40]!r}")
    return number


def _strength(text: str) -> float:
    try:
        strength = float(text)
    except ValueError:
        strength = -1.0
    if not 0 <= strength <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text[:40]!r}")
    return strength


def _ending(text: str) -> str:
    return f".{text.lstrip('.').lower()}"


def _whole(low: int, high: int, text: str) -> int:
    if not text.isdecimal() or len(text) > 13 or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"expected a whole number from {low} to {high}")
    return int(text)


_count = partial(_whole, 1, 2**40)
_tile = partial(_whole, 0, 2**31)
_quality = partial(_whole, 1, 100)


def _numbers(count: int, text: str) -> Any:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(0 <= number < float("inf") for number in numbers):
        raise argparse.ArgumentTypeError(f"expected {count} numbers from 0, got {text!r}")
    return numbers


def _region(text: str) -> Any:
    from rendering.grid import Region

    return Region(*_numbers(4, text))


_point = partial(_numbers, 2)
