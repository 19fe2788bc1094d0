"""Make a video that zooms into a picture, in bounded memory: a frame needs only what it shows."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from engine import progress_bar
from errors import UserError
from rendering.decoding import Scene
from rendering.grid import Axis
from rendering.job import Wanted, into
from rendering.pace import INTERVAL
from rendering.picture import Picture
from rendering.show import UINT8, read_to_show
from rendering.tiles import Renderer
from rendering.video import check_video, write_video

FRAMES, RATE = 120, 24
VIDEO_SIDE = 720
BUDGET = 2**30  # bytes for what is encoded once for many frames
AROUND = 8  # pixels added around a frame, beyond those that a model sees


def zoom(
    renderer: Renderer,
    source: str | Path,
    target: str | Path,
    wanted: Wanted,
    point: list[float] | None,
) -> None:
    """Write a video that zooms into a point, with each frame rendered on its own.

    Args:
        target: Path of the video, .mp4 or .gif.
        wanted: Options, whose scale is that of the last frame.
        point: (row, column) in input pixels, which keeps its place in the frame; None: the middle.

    Raises:
        UserError: If the video cannot be written, or the point is outside the image.
    """
    target = Path(target)
    check_video(target)
    picture = read_to_show(renderer, source, wanted.max_input_pixels)
    height, width = picture.size
    y, x = point or (height / 2, width / 2)
    if y > height or x > width:
        raise UserError(f"--zoom-at {y:g},{x:g}: not in the image of {height}x{width} pixels")
    last = max(wanted.factors(picture.size))
    if last <= 1:
        raise UserError(f"--zoom-video: x{last:g} is no zoom; give a larger scale")
    factor = min(1.0, VIDEO_SIDE / max(height, width))
    # H.264 needs even sides.
    rows, cols = (max(2, round(n * factor / 2) * 2) for n in (height, width))
    frames = render_frames(renderer, picture, (rows, cols), (y, x), last)
    with into(target) as file:
        write_video(file, target.suffix.lower(), _counted(frames, target.name), RATE)
    print(f"{target}: {FRAMES} frames of {rows}x{cols} pixels, up to x{last:g}")


def render_frames(
    renderer: Renderer,
    picture: Picture,
    size: tuple[int, int],
    point: tuple[float, float],
    last: float,
) -> Iterator[np.ndarray]:
    """Render frames, uint8 (H, W, 3), that show from all to 1/last of each side.

    The point keeps its relative position in all frames.

    Args:
        size: (H, W) of the frames.
        point: (row, column) in the picture.
    """
    scene: Scene | None = None
    for i in range(FRAMES):
        by = last ** (i / (FRAMES - 1))
        rows, cols = (
            Axis.over(n, count, place * (1 - 1 / by), n / by)
            for n, count, place in zip(picture.size, size, point, strict=True)
        )
        if scene is None and min(rows.step, cols.step) < 1:
            scene = _encoded(renderer, picture, rows, cols)
        bands = torch.cat([*renderer.render(picture, rows, cols, scene)], dim=2)
        yield picture.rows(bands, 3, UINT8)


def _encoded(renderer: Renderer, picture: Picture, rows: Axis, cols: Axis) -> Scene | None:
    """Encode the part that this frame and all further ones show.

    None means that it is too large for that, and each frame is encoded in tiles.
    """
    if not renderer.knows_parts or renderer.reach is None:
        return renderer.encode(picture)
    spans = [stop - start for start, stop in (rows.span(), cols.span())]
    around = 2 * (renderer.reach + renderer.margin + AROUND)
    sides = [min(n + around, whole) for n, whole in zip(spans, picture.size, strict=True)]
    too_large = max(spans) > (renderer.tile or max(spans))
    pixels = sides[0] * sides[1] * picture.count(renderer.channels)
    if too_large or pixels * sum(renderer.memory) > BUDGET:
        return None
    try:
        return renderer.encode(picture, rows, cols)
    except UserError:  # out of memory: tiles may be small enough
        return None


def _counted(frames: Iterable[np.ndarray], title: str) -> Iterator[np.ndarray]:
    """Pass on frames with a progress bar, or without a terminal a line every `INTERVAL` seconds."""
    bar = progress_bar(frames, title, total=FRAMES, unit="frame")
    said = time.monotonic()
    for count, frame in enumerate(bar, start=1):
        yield frame
        if bar.disable and time.monotonic() - said >= INTERVAL:
            said = time.monotonic()
            print(f"{title}: {count} of {FRAMES} frames", file=sys.stderr)
