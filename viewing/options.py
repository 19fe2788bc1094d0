"""The command line of view.py. Nothing here imports torch, so that --help is quick."""

from __future__ import annotations

import argparse
import math

from cli.command import add_gpu_option, add_model_option

HOST = "127.0.0.1"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Zoom into photographs in the browser, and serve them by IIIF."
    )
    parser.add_argument(
        "input", nargs="*", metavar="photo.jpg", help="photographs, and folders of them"
    )
    add_model_option(parser)
    parser.add_argument("--port", type=_port, default=8000, metavar="N", help="default: 8000")
    parser.add_argument(
        "--host",
        default=HOST,
        metavar="ADDRESS",
        help="address to listen on; default 127.0.0.1, which only this machine reaches",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name of this server, such as behind a proxy",
    )
    parser.add_argument(
        "--no-iiif",
        action="store_true",
        help="no IIIF, which lets pages of others in the browser read the photographs",
    )
    parser.add_argument(
        "--factor",
        type=_factor,
        default=30.0,
        metavar="F",
        help="how many times as large IIIF images are as the photographs; default: 30",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="only print the address, do not open it"
    )
    add_gpu_option(parser)
    return parser.parse_args()


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got {text[:40]!r}")
    return int(text)


def _factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 1 <= factor <= 1000:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 1000, got {text[:40]!r}")
    return factor
