"""How tests look at the page of view.py with a browser."""

import base64
import io
import json
import time
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page

from rendering.upscaler import load

LONGEST = 300  # seconds that anything may take on a busy machine


@cache
def rendered(path, size, model, strength=None):
    """A whole photograph (H, W, 3) as our own code renders it."""
    upscaler = load(model, device="cpu", strength=strength)
    return upscaler.upscale(np.asarray(Image.open(path)), size=size)


def until(condition):
    """Wait for a condition, and return what it says then."""
    end = time.monotonic() + LONGEST
    while not (said := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return said


class Viewer:
    """The page, as somebody sees it who uses it."""

    def __init__(self, page: Page, address: str, path: Path) -> None:
        self.page, self.address = page, address
        self.errors = []
        page.set_default_timeout(1000 * LONGEST)
        page.on("console", lambda message: message.type == "error" and self.error(message.text))
        page.on("pageerror", lambda error: self.error(str(error)))
        page.goto(f"{address}#photo={path.name}")
        self.settle()

    def error(self, text):
        self.errors.append(text)

    def settle(self):
        self.page.wait_for_selector("body[data-exact=true]")

    @property
    def scale(self):
        return self.page.evaluate("view.scale")

    def zoom_to(self, scale):
        """Write the scale into its field, and wait for it."""
        self.page.fill("#scale", str(scale))
        self.page.press("#scale", "Enter")
        until(lambda: self.scale == scale)
        self.settle()

    @property
    def frame(self):
        """Where the whole photograph lies on the canvas."""
        return json.loads(self.page.get_attribute("#canvas", "data-frame"))

    def pixels(self):
        """The canvas (H, W, 4)."""
        data = self.page.evaluate("document.getElementById('canvas').toDataURL()")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))))

    def check_pixels(self, path, right, left=None, divider=0.5):
        """Check each pixel of the canvas.

        Args:
            right: Model and strength, or the model.
            left: What is left of the divider; None: there is no divider.
        """
        self.settle()
        shown, frame = self.pixels(), self.frame
        height, width = shown.shape[:2]
        at = 0 if left is None else int(divider * width + 0.5)
        expected = np.zeros_like(shown)
        for model, part in (left, slice(0, at)), (right, slice(at, width)):
            if part.start == part.stop:
                continue
            name, strength = model if isinstance(model, tuple) else (model, None)
            whole = rendered(path, (frame["H"], frame["W"]), name, strength)
            canvas = np.zeros_like(shown)
            top, y = max(0, frame["top"]), max(0, -frame["top"])
            edge, x = max(0, frame["left"]), max(0, -frame["left"])
            seen = whole[y : y + height - top, x : x + width - edge]
            rows, cols = slice(top, top + seen.shape[0]), slice(edge, edge + seen.shape[1])
            canvas[rows, cols, :3] = seen
            canvas[rows, cols, 3] = 255
            expected[:, part] = canvas[:, part]
        assert expected[..., 3].any()
        np.testing.assert_array_equal(shown, expected)

    def point(self, x, y):
        """The place in the window of a point in pixels of the photograph, in CSS pixels."""
        frame, box = self.frame, self.page.locator("#canvas").bounding_box()
        width, height, ratio = self.page.evaluate("[photo.width, photo.height, ratio]")
        return (
            box["x"] + (frame["left"] + x * frame["W"] / width) / ratio,
            box["y"] + (frame["top"] + y * frame["H"] / height) / ratio,
        )

    def photo_point(self, x, y):
        """The opposite of `point`."""
        (left, top), (right, bottom) = self.point(0, 0), self.point(1, 1)
        return (x - left) / (right - left), (y - top) / (bottom - top)

    def drag(self, start, end):
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*end, steps=3)
        mouse.up()

    def drop(self, name, data):
        """Drop a file on the page."""
        make = """([name, data]) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name));
            return transfer;
        }"""
        transfer = self.page.evaluate_handle(make, [name, base64.b64encode(data).decode()])
        self.page.dispatch_event("#stage", "drop", {"dataTransfer": transfer})

    @property
    def note(self):
        return self.page.text_content("#note")

    @property
    def focus(self):
        return self.page.evaluate("document.activeElement.id")
