"""Refuse options of demo.py that do not go together."""

from __future__ import annotations

import argparse
import os
import sys

from errors import UserError
from rendering.options import OUTPUT, Scale, looks
from rendering.sources import is_one_file
from rendering.standard import STANDARD
from rendering.targets import WRITTEN, check_targets
from rendering.video import check_video
from rendering.writing import format_of


def check(args: argparse.Namespace, many: bool) -> None:
    """Refuse options that do not go together, before any work is done.

    Args:
        many: Whether there are several inputs, or a folder of outputs.

    Raises:
        UserError: If some do not.
    """
    names = {"input": args.input, "output": [args.output]}
    names |= {"compare": [args.compare], "zoom-video": [args.zoom_video]}
    for option, given in names.items():
        if "" in given:  # such as from an unset shell variable
            raise UserError(f"--{option}: the name is empty")
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
    if (args.paper or args.fit or args.wrap) and looks(args):
        raise UserError(
            "--print, --fit and --wrap do not go together with --compare and --zoom-video"
        )
    if args.fit and args.long_side:
        raise UserError("--fit is for an output of a given height and width; --long-side has none")
    if args.scale:
        _check_comma(args.scale, args.fit)
    if args.zoom_at and not args.zoom_video:
        raise UserError("--zoom-at needs --zoom-video")
    _check_outputs(args, many)


def _check_comma(scale: Scale, fit: str | None) -> None:
    """Refuse what may be meant as a decimal comma: 3,7 means rows x3 and columns x7."""
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


def _check_outputs(args: argparse.Namespace, many: bool) -> None:
    """Refuse outputs that would replace each other, the input or an existing file."""
    targets = looks(args)
    if not many and args.output != STANDARD and (args.output or not targets):
        targets["--output"] = args.output or OUTPUT
    check_targets(targets, args.input[0], args.overwrite)
