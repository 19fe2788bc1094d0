"""Pictures to look at: a comparison with bicubic, and a zoom as a video."""

from __future__ import annotations

import importlib.util
import io
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

import models
from configs.files import written_whole
from configs.spec import UserError
from datasets.image_file import write_pixels
from rendering.decoding import Scene
from rendering.grid import Axis
from rendering.job import Wanted
from rendering.picture import Picture
from rendering.reading import read_picture
from rendering.tiles import Renderer
from utils import nearest_index

INSET = 288  # output pixels of a detail
GAP, LABEL = 8, 22
FRAMES, RATE = 120, 24
VIDEO_SIDE = 720


class Box(NamedTuple):
    """A detail of the input: first row and column, rows and columns."""

    top: int
    left: int
    height: int
    width: int


def compare(
    renderer: Renderer, source: str | Path, target: str | Path, wanted: Wanted, name: str
) -> None:
    """Draw the image, and of its two most detailed places the input, bicubic and the model.

    Args:
        name: Of the model, for the label.

    Raises:
        UserError: If the input or the output cannot be.
    """
    picture = _read(renderer, source, wanted.max_input_pixels)
    scale = wanted.factors(picture.size)
    sides = [min(n, max(4, round(INSET / s))) for n, s in zip(picture.size, scale, strict=True)]
    boxes = _detailed(picture, sides[0], sides[1])
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
    print(f"{target}: input, bicubic and {Path(name).stem} in details of {source}")


def _composed(
    overview: Image.Image, details: list[list[np.ndarray]], labels: tuple[str, ...]
) -> Image.Image:
    """The overview at the left, a row for each detail at the right."""
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
    """The image, as tall as two details, with the details framed."""
    image = Image.fromarray(_nearest(picture, *(Axis.over(n, n) for n in picture.size)))
    side = 2 * INSET + GAP
    factor = side / max(image.size)
    size = tuple(max(1, round(n * factor)) for n in image.size)
    image = image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for box in boxes:
        top, left, height, width = (n * factor for n in box)
        draw.rectangle((left, top, left + width, top + height), outline="red", width=2)
    return image


def _detailed(picture: Picture, height: int, width: int) -> list[Box]:
    """The two places with the largest mean gradient that do not overlap; one in a small image."""
    gray = picture.planes()[0].mean(0)
    steps = F.pad(gray.diff(dim=0).abs(), (0, 0, 0, 1)) + F.pad(gray.diff(dim=1).abs(), (0, 1))
    means = F.avg_pool2d(steps[None, None], (height, width), stride=1)[0, 0]
    found: list[Box] = []
    while len(found) < 2 and means.max() >= 0:
        top, left = divmod(int(means.argmax()), means.shape[1])
        found.append(Box(top, left, height, width))
        rows = slice(max(0, top - height + 1), top + height)
        means[rows, max(0, left - width + 1) : left + width] = -1
    return found


def check_video(target: str | Path) -> None:
    """Raise a `UserError` if it is plain already that no video can be written there."""
    ending = Path(target).suffix.lower()
    if ending not in (".mp4", ".gif"):
        raise UserError(f"{target}: a video is .mp4 or .gif")
    if ending == ".mp4" and importlib.util.find_spec("av") is None:
        raise UserError(f"{target}: a .mp4 needs the package av: pip install av; or write a .gif")


def zoom(
    renderer: Renderer,
    source: str | Path,
    target: str | Path,
    wanted: Wanted,
    point: list[float] | None,
) -> None:
    """Write a video that zooms into a point, each frame rendered for itself.

    Args:
        target: .mp4 or .gif.
        wanted: Its scale is that of the last frame.
        point: (row, column) in input pixels, which keeps its place; the middle if None.

    Raises:
        UserError: If it cannot be written, or the point is outside of the image.
    """
    target = Path(target)
    check_video(target)
    picture = _read(renderer, source, wanted.max_input_pixels)
    height, width = picture.size
    y, x = point or (height / 2, width / 2)
    if y > height or x > width:
        raise UserError(f"--zoom-at {y:g},{x:g}: not in the image of {height}x{width} pixels")
    last = max(wanted.factors(picture.size))
    if last <= 1:
        raise UserError(f"--zoom-video: x{last:g} is no zoom; give a larger scale")
    factor = min(1.0, VIDEO_SIDE / max(height, width))
    # Even sides, as H.264 wants them.
    frame = [max(2, round(n * factor / 2) * 2) for n in (height, width)]
    zooms = [last ** (i / (FRAMES - 1)) for i in range(FRAMES)]
    scene = renderer.encode(picture)
    frames = (_frame(renderer, picture, scene, frame, (y, x), by) for by in zooms)
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target) as file:
        _write_video(file, target.suffix.lower(), frames)
    print(f"{target}: {FRAMES} frames of {frame[0]}x{frame[1]} pixels, up to x{last:g}")


def _frame(
    renderer: Renderer,
    picture: Picture,
    scene: Scene,
    frame: list[int],
    point: tuple[float, float],
    by: float,
) -> np.ndarray:
    """The frame whose every side shows 1/by of the image, with the point at its usual place."""
    finer = max(1, math.ceil(max(n / by / m for n, m in zip(picture.size, frame, strict=True))))
    rows, cols = (
        Axis.over(size, count * finer, place * (1 - 1 / by), size / by)
        for size, count, place in zip(picture.size, frame, point, strict=True)
    )
    pixels = renderer.decoder.decode(scene, rows, cols)
    return picture.rows(F.avg_pool2d(pixels, finer), 3, np.dtype(np.uint8))


def _write_video(file: BinaryIO, ending: str, frames: Iterator[np.ndarray]) -> None:
    encoded = io.BytesIO()  # what encodes could not say of a full disk what `file` does
    if ending == ".gif":
        first, *rest = (Image.fromarray(frame).quantize(256) for frame in frames)
        options = {"append_images": rest, "duration": 1000 // RATE, "loop": 0}
        first.save(encoded, format="GIF", save_all=True, **options)
    else:
        import imageio.v3 as iio

        with iio.imopen(encoded, "w", plugin="pyav", extension=ending) as video:
            video.init_video_stream("libx264", fps=RATE)
            for frame in frames:
                video.write_frame(frame)
    file.write(encoded.getbuffer())


def _nearest(picture: Picture, rows: Axis, cols: Axis) -> np.ndarray:
    index = [nearest_index(axis.centres, axis.size) for axis in (rows, cols)]
    planes = picture.planes()[:, :, index[0][:, None], index[1]]
    return picture.rows(planes, 3, np.dtype(np.uint8))


def _render(renderer: Renderer, picture: Picture, rows: Axis, cols: Axis) -> np.ndarray:
    bands = list(renderer.render(picture, rows, cols))
    return picture.rows(torch.cat(bands, dim=2), 3, np.dtype(np.uint8))


def _read(renderer: Renderer, source: str | Path, max_pixels: int) -> Picture:
    """On white where it is transparent; what the user should know is said."""
    picture = read_picture(source, max_pixels)
    for note in (*picture.notes, *renderer.notes(picture)):
        print(f"{source}: {note}", file=sys.stderr)
    if not picture.has_alpha:
        return picture
    colours = 1 if picture.channels < 3 else 3
    pixels = picture.rows(picture.planes(), colours, np.dtype(np.float32))
    return Picture(pixels, picture.icc, picture.notes)
