"""Draw a comparison with bicubic in the most detailed places of a picture."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw

import models
from datasets.image_file import write_pixels
from rendering.grid import Axis
from rendering.job import Wanted
from rendering.picture import Picture
from rendering.show import BAND, eight_bits, read_to_show
from rendering.tiles import Renderer
from utils import nearest_index

INSET = 288  # output pixels of a detail
GAP, LABEL = 8, 22


class Box(NamedTuple):
    """A rectangle of the input, in pixels."""

    top: int
    left: int
    height: int
    width: int


def compare(
    renderer: Renderer, source: str | Path, target: str | Path, wanted: Wanted, name: str
) -> None:
    """Draw the image, and its two most detailed places as input, bicubic and model output.

    Args:
        name: Name of the model, for the label.

    Raises:
        UserError: If the input cannot be read or the output cannot be made.
    """
    picture = read_to_show(renderer, source, wanted.max_input_pixels)
    scale = wanted.factors(picture.size)
    sides = [min(n, max(4, round(INSET / s))) for n, s in zip(picture.size, scale, strict=True)]
    boxes = detailed(picture, sides[0], sides[1])
    bicubic = Renderer(models.make({"name": "bicubic"}).eval(), renderer.norm)
    details = []
    for box in boxes:
        counts = [max(1, round(n * s)) for n, s in zip(box[2:], scale, strict=True)]
        grid = [
            Axis.over(size, count, start, length)
            for size, count, start, length in zip(
                picture.size, counts, box[:2], box[2:], strict=True
            )
        ]
        details.append(
            [
                _nearest(picture, grid[0], grid[1]),
                _render(bicubic, picture, grid[0], grid[1]),
                _render(renderer, picture, grid[0], grid[1]),
            ]
        )
    labels = ("input", "bicubic", Path(name).stem)
    write_pixels(target, np.asarray(_composed(_overview(picture, boxes), details, labels)))
    for note in replace(wanted, fit="stretch").fitted(picture.size).notes:
        print(f"{source}: {note}", file=sys.stderr)
    print(f"{target}: input, bicubic and {Path(name).stem} in details of {source}")


def _composed(
    overview: Image.Image, details: list[list[np.ndarray]], labels: tuple[str, ...]
) -> Image.Image:
    """Put the overview on the left, and a row for each detail on the right."""
    tall, wide = (max(d[0].shape[axis] for d in details) for axis in (0, 1))
    height = max(overview.height, len(details) * (tall + GAP)) + LABEL
    page = Image.new("RGB", (overview.width + 3 * (wide + GAP), height), "white")
    draw = ImageDraw.Draw(page)
    page.paste(overview, (0, LABEL))
    for row, detail in enumerate(details):
        for column, (pixels, label) in enumerate(zip(detail, labels, strict=True)):
            x = overview.width + GAP + column * (wide + GAP)
            draw.text((x, 4), label, fill="black")
            page.paste(Image.fromarray(pixels), (x, LABEL + row * (tall + GAP)))
    return page


def _overview(picture: Picture, boxes: list[Box]) -> Image.Image:
    """Draw the image with frames around the details, its longer side that of two details."""
    image = Image.fromarray(eight_bits(picture))
    side = 2 * INSET + GAP
    factor = side / max(image.size)
    size = tuple(max(1, round(n * factor)) for n in image.size)
    image = image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for box in boxes:
        top, left, height, width = (n * factor for n in box)
        draw.rectangle((left, top, left + width, top + height), outline="red", width=2)
    return image


def detailed(picture: Picture, height: int, width: int) -> list[Box]:
    """Find the two places with the largest mean gradient that do not overlap.

    A small image may have room for only one.

    Args:
        picture: A picture without alpha.
        height, width: Size of each place, in pixels.
    """
    found: list[Box] = []
    while len(found) < 2:
        best, place = -1.0, None
        for top, sums in enumerate(_gradients(picture, height, width)):
            for box in found:
                if abs(top - box.top) < height:
                    sums[max(0, box.left - width + 1) : box.left + width] = -1
            left = int(sums.argmax())
            if sums[left] > best:
                best, place = sums[left], Box(top, left, height, width)
        if place is None:
            break
        found.append(place)
    return found


def _gradients(picture: Picture, height: int, width: int) -> Iterator[np.ndarray]:
    """Yield, for each top row of a place, the sums of gradients for all left columns.

    Each step down adds the sums of the row that comes in and subtracts those of the row that goes
    out. All are whole numbers, so nothing is rounded.
    """
    total = np.zeros(picture.size[1] - width + 1)
    coming, going = _sums_across(picture, width), _sums_across(picture, width)
    for row in islice(coming, height):
        total += row
    yield total.copy()
    for new, old in zip(coming, going, strict=False):
        total += new
        total -= old
        yield total.copy()


def _sums_across(picture: Picture, width: int) -> Iterator[np.ndarray]:
    """Yield the sums of each row's gradients over ``width`` columns, by the first of them."""
    rows, cols = picture.size
    step = max(1, BAND // cols)
    for first in range(0, rows, step):
        # Include the row after the band; the last band has none, so its gradient there is 0.
        part = picture.pixels[first : first + step + 1]
        if part.dtype == np.float32:  # only the visible range counts
            part = np.rint(part.clip(0, 1) * 65535)
        gray = np.zeros(part.shape[:2])
        for channel in range(part.shape[2]):
            gray += part[..., channel]
        count = min(step, rows - first)
        steps = np.zeros((count, cols + 1))
        down = np.abs(np.diff(gray, axis=0))
        steps[: len(down), 1:] = down
        steps[:, 1:-1] += np.abs(np.diff(gray[:count], axis=1))
        np.cumsum(steps, axis=1, out=steps)
        yield from steps[:, width:] - steps[:, :-width]


def _nearest(picture: Picture, rows: Axis, cols: Axis) -> np.ndarray:
    y, x = (nearest_index(axis.centres, axis.size).numpy() for axis in (rows, cols))
    return eight_bits(Picture(picture.pixels[y[:, None], x]))


def _render(renderer: Renderer, picture: Picture, rows: Axis, cols: Axis) -> np.ndarray:
    bands = list(renderer.render(picture, rows, cols))
    return picture.rows(torch.cat(bands, dim=2), 3, np.dtype(np.uint8))
