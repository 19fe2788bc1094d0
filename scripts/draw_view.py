"""Draw docs/view.webp: the page of view.py on a photograph, as a whole, at x8 and at x30.

    python scripts/draw_view.py

Needs Chromium, and playwright (requirements-dev.txt), which drives it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Browser, ViewportSize, sync_playwright
from skimage import data

from cli.command import outlive_output, run
from errors import UserError
from files.whole import written_whole

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = Path("docs/view.webp")
WINDOW = ViewportSize(
    width=560, height=609
)  # the photograph is square, and the bar below it 49 high
GAP = 8  # pixels between the windows
PLACES = [{}, {"x": 228, "y": 106, "scale": 8}, {"x": 246, "y": 103, "scale": 30}]
LONGEST = 300  # seconds that a view may take

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def serving(*inputs: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run view.py; yield it, and the address of its page."""
    command = [sys.executable, str(ROOT / "view.py"), *map(str, inputs)]
    command += ["--port", str(port), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        words = server.stdout.readline().split()
        if not words:
            raise UserError("view.py has ended")
        yield server, words[0]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser without windows."""
    if CHROMIUM is None:
        raise UserError("there is no chromium, and no google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


def screenshots(browser: Browser, address: str) -> Iterator[Image.Image]:
    """Yield what the page shows at each place, once that is exact."""
    for place in PLACES:
        page = browser.new_page(viewport=WINDOW, reduced_motion="reduce")
        page.goto(f"{address}#{urlencode({'photo': 'astronaut.png', **place})}")
        page.wait_for_selector("body[data-exact=true]", timeout=1000 * LONGEST)
        page.wait_for_timeout(1000)  # the bar that shows progress goes
        yield Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        page.close()


def in_a_row(images: Iterable[Image.Image]) -> Image.Image:
    """Put images of one height beside each other."""
    images = list(images)
    width = sum(image.width + GAP for image in images) - GAP
    row, left = Image.new("RGB", (width, images[0].height), "white"), 0
    for image in images:
        row.paste(image, (left, 0))
        left += image.width + GAP
    return row


def main() -> None:
    outlive_output()
    with tempfile.TemporaryDirectory() as folder:
        photograph = Path(folder) / "astronaut.png"
        Image.fromarray(data.astronaut()).save(photograph)
        with serving(photograph) as (_, address), chromium() as browser:
            drawn = in_a_row(screenshots(browser, address))
    with written_whole(OUTPUT) as file:
        drawn.save(file, "WEBP", quality=90, method=6)
    print(f"{OUTPUT}: {OUTPUT.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    run(main)
