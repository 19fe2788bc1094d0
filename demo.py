"""Render images at any size.

python demo.py --input photo.png --scale 3.7 --output large.png
python demo.py --input photos --long-side 4096 --output large --suffix _4k
python demo.py --input photo.jpg --scale 30 --zoom-video zoom.mp4
python demo.py --input - --scale 2 --output - < photo.png > large.png
"""

from __future__ import annotations

from configs.interrupt import end_at_once, ending_at_once

if __name__ == "__main__":
    end_at_once()  # before pydantic and torch, whose imports take seconds

import argparse
import os
import signal
import sys
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any

from configs.command import add_gpu_option, add_model_option, outlive_output, parse_pair, run
from configs.spec import UserError

if TYPE_CHECKING:
    from parallel import Group
    from rendering.job import Wanted
    from rendering.targets import Plan
    from rendering.tiles import Renderer

OUTPUT = "output.png"


def main() -> None:
    args = parse_args()
    outlive_output()
    for name in ("SIGTERM", "SIGHUP"):  # so that no half file is left
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as by nohup
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    with ending_at_once():  # imported here, as torch takes seconds, and --help shall not
        from parallel import joined, start_each
        from rendering.sources import is_one_file
        from rendering.standard import STANDARD, check_standard_output
        from rendering.targets import is_folder

    if args.output == STANDARD:
        check_standard_output()
    many = not is_one_file(args.input) or is_folder(args.output)
    if many:
        start_each(args.gpu)
    with joined(args.gpu if many or not args.gpu else args.gpu.split(",")[0]) as group:
        if args.output == STANDARD:
            with redirect_stdout(sys.stderr):  # what is said shall not go into the picture
                render(args, many, group)
        else:
            render(args, many, group)


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
        "--output",
        metavar="O.png",
        help="a file, default output.png; a folder, in which names stay the same; - is stdout",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace outputs that are there; never an input"
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
    )
    if not many and not group.is_first:
        return  # one image is the work of one process
    found = group.from_first(lambda: find(args)) if many else None
    model, norm = load_model(args.model)
    renderer = Renderer(model.to(group.device), norm, args.tile)
    if found is not None:
        render_many(renderer, args, wanted, group, found)
    elif args.output or not looks(args):
        render_one(renderer, args, wanted)
    if args.compare and group.is_first:
        from rendering.show import compare

        compare(renderer, args.input[0], args.compare, wanted, args.model)
    if args.zoom_video and group.is_first:
        from rendering.show import zoom

        zoom(renderer, args.input[0], args.zoom_video, wanted, args.zoom_at)


def looks(args: argparse.Namespace) -> dict[str, str]:
    """The pictures to look at, by their options."""
    given = {"--compare": args.compare, "--zoom-video": args.zoom_video}
    return {option: target for option, target in given.items() if target}


def check(args: argparse.Namespace, many: bool) -> None:
    """Refuse options that do not go together, before any work is done."""
    from rendering.show import check_video
    from rendering.sources import is_one_file
    from rendering.standard import STANDARD
    from rendering.targets import WRITTEN
    from rendering.writing import format_of

    if looks(args) and (not is_one_file(args.input) or args.input == [STANDARD]):
        raise UserError("--compare and --zoom-video take one image, from a file")
    if many and STANDARD in (*args.input, args.output):
        raise UserError("-: is one picture without a name; give one --input, and name a file")
    if args.ext not in (None, *WRITTEN):
        raise UserError(f"--ext {args.ext[1:]}: no image format; use png, tif, jpg, webp, bmp, ppm")
    if many and not args.output:
        raise UserError("--output: for several inputs name a folder")
    if "/" in args.suffix or os.sep in args.suffix:
        raise UserError(f"--suffix {args.suffix}: is a part of a name, not a path")
    for option in ("suffix", "ext"):
        piped = option == "ext" and args.output == STANDARD
        if getattr(args, option) and not many and not piped:
            raise UserError(f"--{option} is for a folder of outputs; {args.input[0]} is one image")
    if args.output not in (None, STANDARD) and not many:
        format_of(args.output)
    if args.compare:
        format_of(args.compare)
    if args.zoom_video:
        check_video(args.zoom_video)
    if args.region and looks(args):
        raise UserError("--region does not go together with --compare and --zoom-video")
    if args.zoom_at and not args.zoom_video:
        raise UserError("--zoom-at needs --zoom-video")
    check_outputs(args, many)


def check_outputs(args: argparse.Namespace, many: bool) -> None:
    """Refuse outputs of one file that would replace another, the input or what is there."""
    from rendering.standard import STANDARD
    from rendering.targets import check_targets

    targets = looks(args)
    if not many and args.output != STANDARD and (args.output or not targets):
        targets["--output"] = args.output or OUTPUT
    check_targets(targets, args.input[0], args.overwrite)


def find(args: argparse.Namespace) -> Plan:
    """What is to be rendered to where; what cannot be is said before any work."""
    from rendering.targets import check_targets, plan

    found = plan(args.input, args.output, args.suffix, args.ext)
    for line in [*map("error: ".__add__, found.failed), *found.notes]:
        print(line, file=sys.stderr)
    for task in found.tasks if looks(args) else []:
        check_targets({**looks(args), "--output": str(task.target)}, args.input[0], overwrite=True)
    return found


def render_many(
    renderer: Renderer, args: argparse.Namespace, wanted: Wanted, group: Group, found: Plan
) -> None:
    from rendering.batch import Batch, render_all
    from rendering.record import identity

    batch = Batch(wanted, identity(args.model), args.overwrite)
    report = render_all(renderer, found, batch, group)
    if group.is_first:
        print(report)
    if report.failed:
        sys.exit(1)


def render_one(renderer: Renderer, args: argparse.Namespace, wanted: Wanted) -> None:
    from rendering.single import render_single
    from rendering.standard import STANDARD

    source, target = args.input[0], args.output or OUTPUT
    done = render_single(renderer, source, target, wanted, args.ext or ".png")
    for note in done.notes:
        print(f"{'stdin' if source == STANDARD else source}: {note}", file=sys.stderr)
    print(f"{'stdout' if target == STANDARD else target}: {done.height}x{done.width} pixels")


def _resolution(text: str) -> tuple[float, float]:
    if "," not in text:
        raise argparse.ArgumentTypeError(f"expected H,W, got {text!r}")
    return parse_pair(text, int)


def _scale(text: str) -> tuple[float, float]:
    return parse_pair(text, float)


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


if __name__ == "__main__":
    run(main)
