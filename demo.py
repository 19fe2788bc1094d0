"""Render images at any size.

python demo.py --input photo.png --scale 3.7 --output large.png
python demo.py --input photos --long-side 4096 --output large --suffix _4k
python demo.py --input photo.jpg --scale 30 --zoom-video zoom.mp4
"""

from __future__ import annotations

from configs.interrupt import end_at_once, ending_at_once

if __name__ == "__main__":
    end_at_once()  # before pydantic and torch, whose imports take seconds

import argparse
import os
import signal
import sys
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from configs.command import add_gpu_option, add_model_option, outlive_output, parse_pair, run
from configs.spec import UserError

if TYPE_CHECKING:
    from parallel import Group
    from rendering.job import Wanted
    from rendering.tiles import Renderer

PRINT_DPI = 300.0


def main() -> None:
    args = parse_args()
    outlive_output()
    warnings.filterwarnings("ignore", module="PIL")  # what matters of a file is raised or noted
    for name in ("SIGTERM", "SIGHUP"):  # so that no half file is left
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as by nohup
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    with ending_at_once():  # imported here, as torch takes seconds, and --help shall not
        from parallel import joined, start_each
        from rendering.batch import names_many

    many = names_many(args.input)
    if many:
        start_each(args.gpu)
    with joined(args.gpu if many or not args.gpu else args.gpu.split(",")[0]) as group:
        render(args, many, group)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Render images at any size.")
    parser.add_argument(
        "--input", required=True, metavar="I.png", help="an image; a folder; or 'photos/*.png'"
    )
    add_model_option(parser)
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
        "--output", metavar="O.png", help="a file, default output.png; for many, a folder"
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
        default=2**28,
        metavar="N",
        help="the largest input; default 268435456",
    )
    many = parser.add_argument_group("for a folder")
    many.add_argument("--suffix", default="", help="appended to the names, such as _x4")
    many.add_argument("--ext", metavar="png", help="format of the outputs; default: of the inputs")
    many.add_argument("--overwrite", action="store_true", help="render again what is there")
    one = parser.add_argument_group("to look at; then the image itself is only made with --output")
    one.add_argument("--compare", metavar="C.png", help="input, bicubic and model, in details")
    one.add_argument("--zoom-video", metavar="Z.mp4", help="a zoom up to --scale; .mp4 or .gif")
    one.add_argument("--zoom-at", type=_point, metavar="Y,X", help="where to; default: the middle")
    add_gpu_option(parser)
    return parser.parse_args()


def render(args: argparse.Namespace, many: bool, group: Group) -> None:
    from models.checkpoint import load_model
    from rendering.grid import MAX_PIXELS
    from rendering.job import Wanted
    from rendering.tiles import Renderer

    check(args, many)
    wanted = Wanted(
        args.scale,
        args.resolution,
        args.long_side,
        args.region,
        args.max_pixels or MAX_PIXELS,
        args.quality,
        args.dpi or (PRINT_DPI if args.paper else None),
        args.paper,
        args.fit,
        strip=args.strip,
        lossless=args.lossless,
        max_input_pixels=args.max_input_pixels,
    )
    if not many and not group.is_first:
        return  # one image is the work of one process
    model, norm = load_model(args.model)
    renderer = Renderer(model.to(group.device), norm, args.tile)
    if many:
        render_many(renderer, args, wanted, group)
        return
    if args.output or not (args.compare or args.zoom_video):
        render_one(renderer, args.input, args.output or "output.png", wanted)
    if args.compare:
        from rendering.compare import compare

        compare(renderer, args.input, args.compare, wanted, args.model)
    if args.zoom_video:
        from rendering.zoom import zoom

        zoom(renderer, args.input, args.zoom_video, wanted, args.zoom_at)


def check(args: argparse.Namespace, many: bool) -> None:
    """Refuse options that do not go together, before any work is done."""
    from rendering.video import check_video
    from rendering.writing import format_of

    looks = [name for name in ("compare", "zoom_video") if getattr(args, name)]
    if many:
        if looks:
            raise UserError("--compare and --zoom-video take one image")
        if not args.output:
            raise UserError("--output: for several inputs name a folder")
        if "/" in args.suffix or os.sep in args.suffix:
            raise UserError(f"--suffix {args.suffix}: is a part of a name, not a path")
        if args.ext is not None and not is_ending(args.ext):
            raise UserError(f"--ext {args.ext}: no image format; use png, tif, jpg, webp, bmp, ppm")
    else:
        for option in ("suffix", "ext", "overwrite"):
            if getattr(args, option):
                raise UserError(f"--{option} is for a folder; {args.input} is one image")
        for path in (args.output, args.compare):
            if path:
                format_of(path)
    if args.zoom_video:
        check_video(args.zoom_video)
    if args.region and looks:
        raise UserError("--region does not go together with --compare and --zoom-video")
    if (args.paper or args.fit) and looks:
        raise UserError("--print and --fit do not go together with --compare and --zoom-video")
    if args.fit and args.long_side:
        raise UserError("--fit is for an output of a given height and width; --long-side has none")
    if args.scale:
        check_comma(args.scale, args.fit)
    if args.zoom_at and not args.zoom_video:
        raise UserError("--zoom-at needs --zoom-video")


def check_comma(scale: Scale, fit: str | None) -> None:
    """Refuse what may be a number with a decimal comma: 3,7 is rows x3 and columns x7."""
    rows, comma, cols = scale.text.replace(" ", "").partition(",")
    if not comma or not (rows.isdecimal() and cols.isdecimal()) or fit == "stretch":
        return
    if scale[0] == scale[1]:
        print(
            f"--scale {scale.text} is x{rows} for rows and columns; for a decimal fraction write "
            f"{rows}.{cols}",
            file=sys.stderr,
        )
        return
    raise UserError(
        f"--scale {scale.text} means rows x{rows} and columns x{cols}, which changes the shape; "
        f"for the number write {rows}.{cols}; to stretch add --fit stretch"
    )


def is_ending(ext: str) -> bool:
    from rendering.batch import ENDINGS

    return f".{ext.lstrip('.').lower()}" in ENDINGS


def render_many(renderer: Renderer, args: argparse.Namespace, wanted: Wanted, group: Group) -> None:
    from rendering.batch import find_tasks, render_all

    ending = None if args.ext is None else f".{args.ext.lstrip('.').lower()}"
    tasks, unreadable = group.from_first(
        lambda: find_tasks(args.input, args.output, args.suffix, ending)
    )
    report = render_all(renderer, tasks, wanted, args.overwrite, group)
    report.failed += unreadable
    if group.is_first:
        print(report)
    if report.failed:
        sys.exit(1)


def render_one(renderer: Renderer, source: str, target: str, wanted: Wanted) -> None:
    from engine import progress_bar
    from rendering.job import render_file

    with progress_bar([], os.path.basename(target), unit="row") as bar:  # noqa: PTH119

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        done = render_file(renderer, source, target, wanted, progress)
    for note in done.notes:
        print(f"{source}: {note}", file=sys.stderr)
    print(f"{target}: {done.height}x{done.width} pixels")


def _resolution(text: str) -> tuple[float, float]:
    if "," not in text:
        raise argparse.ArgumentTypeError(f"expected H,W, got {text!r}")
    return parse_pair(text, int)


class Scale(tuple[float, float]):
    """Factors of rows and columns, and how they were written."""

    text: str


def _scale(text: str) -> Scale:
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
    if not 1 <= number <= 65535:  # as of JPEG
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 65535, got {text[:40]!r}")
    return number


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


if __name__ == "__main__":
    run(main)
