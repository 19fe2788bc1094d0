"""Render images at any size.

python demo.py --input photo.png --scale 3.7 --output large.png
python demo.py --input photos --long-side 4096 --output large --suffix _4k
python demo.py --input photo.jpg --scale 30 --zoom-video zoom.mp4
python demo.py --input - --scale 2 --output - < photo.png > large.png
"""

from __future__ import annotations

from cli.interrupt import end_at_once, ending_at_once
from cli.threads import wait_asleep

if __name__ == "__main__":
    end_at_once()  # before pydantic and torch, whose imports take seconds
    wait_asleep()

import argparse
import signal
import sys
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from cli.command import outlive_output, run
from rendering.options import OUTPUT, PRINT_DPI, looks, parse_args

if TYPE_CHECKING:
    from torch import nn

    from parallel import Group
    from rendering.job import Wanted
    from rendering.targets import Plan
    from rendering.tiles import Renderer


def main() -> None:
    args = parse_args()
    outlive_output()
    warnings.filterwarnings("ignore", module="PIL")  # anything important is raised or noted
    for name in ("SIGTERM", "SIGHUP"):  # so that no partial file is left
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as by nohup
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    with ending_at_once():  # imported here, as torch takes seconds and --help should be quick
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
            with redirect_stdout(sys.stderr):  # keep messages out of the picture
                render(args, many, group)
        else:
            render(args, many, group)


def render(args: argparse.Namespace, many: bool, group: Group) -> None:
    from datasets.opening import MAX_PIXELS as MAX_INPUT_PIXELS
    from models.checkpoint import load_model
    from rendering.checks import check
    from rendering.grid import MAX_PIXELS
    from rendering.job import Wanted

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
        max_input_pixels=args.max_input_pixels or MAX_INPUT_PIXELS,
        wrap=args.wrap,
    )
    if not many and not group.is_first:
        return  # one image is rendered by one process
    found = group.from_first(lambda: find(args)) if many else None
    model, norm = load_model(args.model, args.strength)
    renderer = make_renderer(args, model.to(group.device), norm, group, found)
    if found is not None:
        render_many(renderer, args, wanted, group, found)
    elif args.output or not looks(args):
        render_one(renderer, args, wanted)
    if args.compare and group.is_first:
        from models.checkpoint import split_name
        from models.strength import titled
        from rendering.compare import compare

        name = titled(*split_name(args.model, args.strength))
        compare(renderer, args.input[0], args.compare, wanted, name)
    if args.zoom_video and group.is_first:
        from rendering.zoom import zoom

        zoom(renderer, args.input[0], args.zoom_video, wanted, args.zoom_at)


def make_renderer(
    args: argparse.Namespace, model: nn.Module, norm: Any, group: Group, found: Plan | None
) -> Renderer:
    """Make the renderer; if no model is named, it hints when another one suits a picture better."""
    from rendering.hint import LINES, HintingRenderer, is_there
    from rendering.tiles import Renderer

    if not args.default_model or not is_there():
        return Renderer(model, norm, args.tile)
    lines = 1 if found is None else min(LINES, len(found.tasks))
    return HintingRenderer(model, norm, args.tile, lines=lines if group.is_first else 0)


def find(args: argparse.Namespace) -> Plan:
    """Plan what to render to which files, and report what is impossible before any work."""
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
    from rendering.hint import PHOTO, HintingRenderer
    from rendering.record import identity

    batch = Batch(wanted, identity(args.model, args.strength), args.overwrite)
    report = render_all(renderer, found, batch, group)
    unsaid = sum(group.gather([renderer.unsaid if isinstance(renderer, HintingRenderer) else 0]))
    if group.is_first:
        if unsaid:
            print(f"{unsaid} more are such JPEGs, or noisy: --model {PHOTO}", file=sys.stderr)
        print(report)
    if report.failed or report.kept:  # not all inputs have their outputs
        sys.exit(1)


def render_one(renderer: Renderer, args: argparse.Namespace, wanted: Wanted) -> None:
    from rendering.single import render_single
    from rendering.standard import STANDARD

    source, target = args.input[0], args.output or OUTPUT
    done = render_single(renderer, source, target, wanted, args.ext or ".png")
    for note in done.notes:
        print(f"{'stdin' if source == STANDARD else source}: {note}", file=sys.stderr)
    print(f"{'stdout' if target == STANDARD else target}: {done.height}x{done.width} pixels")


if __name__ == "__main__":
    run(main)
