"""Zoom into photographs in the browser, and serve them by IIIF.

python view.py photo.jpg
python view.py photos --model photo --port 8080
"""

from __future__ import annotations

from cli.interrupt import end_at_once, ending_at_once
from cli.threads import wait_asleep

if __name__ == "__main__":
    end_at_once()  # before torch, whose import takes seconds
    wait_asleep()

import argparse
import os
import socket
import sys
import threading
import warnings
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import choose_devices, outlive_output, run
from errors import UserError
from viewing.options import parse_args

if TYPE_CHECKING:
    from viewing.site import Site


def main() -> None:
    args = parse_args()
    outlive_output()
    warnings.filterwarnings("ignore", module="PIL")  # anything important is raised or noted
    with ending_at_once():  # imported here, as torch takes seconds and --help should be quick
        check_installed()
        from viewing.app import make_app
        from viewing.protection import LOOPBACK
        from viewing.server import listen, serve

        listening = listen(args.host, args.port)
        site = make_site(args)
    local = args.host in LOOPBACK
    names = [] if local else [args.host, socket.gethostname(), socket.getfqdn()]
    app = make_app(site, [*names, *args.allow_host], any_address=not local, iiif=not args.no_iiif)
    port = listening.getsockname()[1]
    shown = "127.0.0.1" if args.host in ("0.0.0.0", "::") else args.host
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"
    print(f"{address} (Ctrl-C ends it)", flush=True)
    if not local:
        print(
            f"--host {args.host}: every machine that reaches this one can see the photographs, "
            "send others, and keep its processor busy",
            file=sys.stderr,
        )
    if not args.no_browser and has_desktop():
        threading.Timer(0.5, webbrowser.open, [address]).start()
    serve(app, listening)
    sys.stdout.flush()
    os._exit(0)  # what is being rendered is not waited for


def check_installed() -> None:
    """Raise a `UserError` if the packages that only this program needs are missing."""
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"view.py needs {' and '.join(missing)}: pip install -r requirements-view.txt"
        )


def make_site(args: argparse.Namespace) -> Site:
    """Find the photographs and models."""
    from viewing.blocks import Studio
    from viewing.gallery import Gallery
    from viewing.offer import offer
    from viewing.site import Site
    from viewing.work import Workers

    device = choose_devices(args.gpu)[0]
    models, choice = offer(args.model)
    studio = Studio(Gallery(find(args.input)), models, device)
    studio.renderer(choice)  # so that a mistake is said now
    return Site(studio, Workers(1 if device.type == "cuda" else None), choice, args.factor)


def find(inputs: list[str]) -> list[Path]:
    """Find the photographs that are named, and those in folders; say what cannot be read."""
    if not inputs:
        return []
    from rendering.sources import find_sources

    found = find_sources(inputs, os.devnull, None)
    for line in found.failed:
        print(f"error: {line}", file=sys.stderr)
    if found.unread:
        print(found.unread_line(), file=sys.stderr)
    return [source.path for source in found.sources]


def has_desktop() -> bool:
    """Whether there is a screen that a browser can open on."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    run(main)
