"""A zoom into a picture as a video, in bounded memory: a frame needs only what it shows."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from configs.files import written_whole
from configs.spec import UserError
from engine import progress_bar
from rendering.grid import Axis
from rendering.job import Wanted
from rendering.picture import LARGEST, Picture
from rendering.reach import alignment
from rendering.show import UINT8, read_to_show
from rendering.tiles import Renderer, Scene
from rendering.video import check_video, write_video

FRAMES, RATE = 120, 24
VIDEO_SIDE = 720
BUDGET = 2**30  # bytes for what is encoded once for many frames
AROUND = 8  # pixels around a frame that filters may ask for
SAID_EVERY = 30  # seconds, where there is no terminal


@dataclass(frozen=True)
class View:
    """What frames are rendered from.

    Attributes:
        picture: A part of the picture, or all of it.
        origin: The row and the column of the picture where it begins.
        scene: The part encoded, for all frames that are within it; None: each frame is encoded in
            tiles.
    """

    picture: Picture
    origin: tuple[int, int] = (0, 0)
    scene: Scene | None = None


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
    picture = read_to_show(renderer, source)
    height, width = picture.size
    y, x = point or (height / 2, width / 2)
    if y > height or x > width:
        raise UserError(f"--zoom-at {y:g},{x:g}: not in the image of {height}x{width} pixels")
    last = max(wanted.factors(picture.size))
    if last <= 1:
        raise UserError(f"--zoom-video: x{last:g} is no zoom; give a larger scale")
    factor = min(1.0, VIDEO_SIDE / max(height, width))
    # Even sides, as H.264 wants them.
    rows, cols = (max(2, round(n * factor / 2) * 2) for n in (height, width))
    frames = render_frames(renderer, picture, (rows, cols), (y, x), last)
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target) as file:
        write_video(file, target.suffix.lower(), _counted(frames, target.name), RATE)
    print(f"{target}: {FRAMES} frames of {rows}x{cols} pixels, up to x{last:g}")


def render_frames(
    renderer: Renderer,
    picture: Picture,
    size: tuple[int, int],
    point: tuple[float, float],
    last: float,
) -> Iterator[np.ndarray]:
    """Frames, uint8 (H, W, 3), that show 1 to 1/last of each side, with the point at its place.

    Args:
        size: (H, W) of the frames.
        point: (row, column) of the picture.
    """
    view = View(picture)
    for i in range(FRAMES):
        by = last ** (i / (FRAMES - 1))
        starts = [place * (1 - 1 / by) for place in point]
        lengths = [n / by for n in picture.size]
        if view.scene is None:
            view = _encoded(renderer, picture, starts, lengths)
        rows, cols = (
            Axis.over(n, count, start - first, length)
            for n, count, start, first, length in zip(
                view.picture.size, size, starts, view.origin, lengths, strict=True
            )
        )
        yield _frame(renderer, view, rows, cols)


def _encoded(
    renderer: Renderer, picture: Picture, starts: list[float], lengths: list[float]
) -> View:
    """A view for this frame and all further ones, which show parts of it; encoded if it may be.

    What the model sees around the frame is in it, so that the colours are those of the whole.
    """
    spans = [slice(0, n) for n in picture.size]
    if not renderer.knows_parts or renderer.reach is None:
        return View(picture, scene=renderer.encode(picture))
    if not renderer.spans:
        around = renderer.reach + renderer.model.margin + AROUND
        step = alignment(renderer.model)
        for axis, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            first, stop = int(start) - around, int(start + length) + 1 + around
            spans[axis] = slice(max(0, first - first % step), min(stop, picture.size[axis]))
    part = Picture(picture.pixels[spans[0], spans[1]], picture.icc)
    pixels = part.size[0] * part.size[1] * part.count(renderer.channels)
    too_large = max(part.size) > (renderer.tile or max(part.size))
    if too_large or pixels * sum(renderer.memory) > BUDGET:
        return View(picture)
    try:
        return View(part, (spans[0].start, spans[1].start), renderer.encode(part))
    except UserError:  # out of memory: tiles may be small enough
        return View(picture)


def _frame(renderer: Renderer, view: View, rows: Axis, cols: Axis) -> np.ndarray:
    planes = _filtered(renderer, view.picture, rows, cols)
    if planes is None and view.scene is not None:
        planes = renderer.decode(view.scene, rows, cols)
    elif planes is None:
        planes = torch.cat([*renderer.render(view.picture, rows, cols)], dim=2)
    return view.picture.rows(planes, 3, UINT8)


def _filtered(renderer: Renderer, picture: Picture, rows: Axis, cols: Axis) -> Tensor | None:
    """A frame that shows the picture smaller than it is: means of its pixels. Else None."""
    if max(axis.cell * axis.size for axis in (rows, cols)) <= 2 + 1e-9:
        return None
    part, ends = [], []
    for axis in (rows, cols):
        pixel = axis.cell * axis.size / 2  # of the output, in input pixels
        first = max(0.0, (float(axis.centres[0]) + 1) * axis.size / 2 - pixel / 2)
        stop = min(float(axis.size), first + len(axis) * pixel)
        part.append(slice(int(first), math.ceil(stop)))
        ends.append((first - int(first), stop - int(first)))
    (top, bottom), (left, right) = ends
    seen = picture.pixels[part[0], part[1]]
    means = [
        Image.fromarray(seen[..., c].astype(np.float32)).resize(
            (len(cols), len(rows)), Image.Resampling.BOX, (left, top, right, bottom)
        )
        for c in range(picture.channels)
    ]
    white = LARGEST[picture.pixels.dtype]
    pixels = np.stack([np.asarray(mean) for mean in means], axis=-1) / np.float32(white)
    return Picture(pixels).planes(channels=renderer.channels)


def _counted(frames: Iterable[np.ndarray], title: str) -> Iterator[np.ndarray]:
    """The same, with a progress bar; without a terminal a line every `SAID_EVERY` seconds."""
    bar = progress_bar(frames, title, total=FRAMES, unit="frame")
    said = time.monotonic()
    for count, frame in enumerate(bar, start=1):
        yield frame
        if bar.disable and time.monotonic() - said >= SAID_EVERY:
            said = time.monotonic()
            print(f"{title}: {count} of {FRAMES} frames", file=sys.stderr)
