"""Render images at any size.

python demo.py --input photo.png --scale 3.7 --output large.png
python demo.py --input photos --long-side 4096 --output large --suffix _4k
python demo.py --input photo.jpg --scale 30 --zoom-video zoom.mp4
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from configs.command import add_gpu_option, add_model_option, parse_pair, run
from configs.spec import UserError

if TYPE_CHECKING:
    from parallel import Group
    from rendering.job import Wanted
    from rendering.tiles import Renderer


def main() -> None:
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no half file is left
    # Imported here, as torch takes seconds, and --help shall not.
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
    from rendering.batch import find_tasks, render_all
    from rendering.grid import MAX_PIXELS
    from rendering.job import Wanted
    from rendering.tiles import Renderer
    from rendering.writing import format_of

    looks = [args.compare, args.zoom_video]
    wanted = Wanted(
        args.scale,
        args.resolution,
        args.long_side,
        args.region,
        args.max_pixels or MAX_PIXELS,
        args.quality,
    )
    if many:
        if any(looks):
            raise UserError("--compare and --zoom-video take one image")
        if not args.output:
            raise UserError("--output: for several inputs name a folder")
        ending = None if args.ext is None else "." + args.ext.lstrip(".").lower()
        format_of(f"x{ending or '.png'}")
        tasks = find_tasks(args.input, args.output, args.suffix, ending)
    else:
        target = args.output or (None if any(looks) else "output.png")
        if target:
            format_of(target)
    model, norm = load_model(args.model)
    renderer = Renderer(model.to(group.device), norm, args.tile)
    if many:
        report = render_all(renderer, tasks, wanted, args.overwrite, group)
        if group.is_first:
            print(report)
        if report.failed:
            sys.exit(1)
        return
    if target:
        render_one(renderer, args.input, target, wanted)
    if args.compare:
        from rendering.show import compare

        compare(renderer, args.input, args.compare, wanted, args.model)
    if args.zoom_video:
        from rendering.show import zoom

        zoom(renderer, args.input, args.zoom_video, wanted, args.zoom_at)


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


def _scale(text: str) -> tuple[float, float]:
    return parse_pair(text, float)


def _whole(low: int, high: float, text: str) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"expected a whole number from {low}, got {text!r}")
    return int(text)


_count = partial(_whole, 1, float("inf"))
_tile = partial(_whole, 0, float("inf"))
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
