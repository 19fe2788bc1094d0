"""One picture from a file, rendered, to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from torch import Tensor

from configs.files import written_whole
from configs.spec import UserError
from rendering.grid import MAX_PIXELS, Axis, Region, output_counts, output_grid
from rendering.picture import Picture
from rendering.reading import read_picture
from rendering.tiles import Renderer
from rendering.writing import FLOAT32, UINT16, Format, Layout, format_of

# Called with the rows done, and all rows.
Progress = Callable[[int, int], None]
Commit = Callable[[BinaryIO], None]


@dataclass(frozen=True)
class Wanted:
    """What is asked of an output; see `output_grid`."""

    scale: tuple[float, float] | None = None
    resolution: tuple[int, int] | None = None
    long_side: int | None = None
    region: Region | None = None
    max_pixels: int = MAX_PIXELS
    quality: int = 95

    def grid(self, size: tuple[int, int]) -> tuple[Axis, Axis]:
        """Rows and columns of the output for an input of a size."""
        return output_grid(
            size, self.scale, self.resolution, self.long_side, self.region, self.max_pixels
        )

    def factors(self, size: tuple[int, int]) -> tuple[float, float]:
        """Output pixels per input pixel, without making anything."""
        counts = output_counts(size, self.scale, self.resolution, self.long_side)
        return counts[0] / size[0], counts[1] / size[1]


class Done(NamedTuple):
    """A written picture: its size, and what the user should know."""

    height: int
    width: int
    notes: tuple[str, ...]


def render_file(
    renderer: Renderer,
    source: str | Path,
    target: str | Path,
    wanted: Wanted,
    progress: Progress | None = None,
    commit: Commit | None = None,
) -> Done:
    """Read, render and write; the output appears whole or not at all.

    Args:
        commit: Called when the output is written, before it takes its place.

    Raises:
        UserError: If the input or the output cannot be what is asked for.
        OSError: If it cannot be written.
    """
    format, target = format_of(target), Path(target)
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise UserError(f"{source}: the output would replace it; choose another name")
    output = into(target, commit)
    return render_picture(renderer, read_picture(source), output, format, wanted, progress)


def render_picture(
    renderer: Renderer,
    picture: Picture,
    output: AbstractContextManager[BinaryIO],
    format: Format,
    wanted: Wanted,
    progress: Progress | None = None,
) -> Done:
    """Render and write to a file, which is opened when all is known to fit.

    Raises:
        UserError: If the output cannot be what is asked for.
        OSError: If it cannot be written.
    """
    rows, cols = wanted.grid(picture.size)
    layout, notes = fit(picture, format, (len(rows), len(cols)), wanted.quality)
    with output as file:
        bands = renderer.render(picture, rows, cols)
        if progress is not None:
            bands = _counted(bands, len(rows), progress)
        pixels = (picture.rows(band, layout.channels, layout.dtype) for band in bands)
        format.write(file, layout, pixels)
    return Done(len(rows), len(cols), (*picture.notes, *renderer.notes(picture), *notes))


@contextmanager
def into(target: str | Path, commit: Commit | None = None) -> Iterator[BinaryIO]:
    """A file that takes the place of the target at the end, whole, or never; see `render_file`."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target) as file:
        yield file
        if commit is not None:
            commit(file)


def fit(
    picture: Picture, format: Format, size: tuple[int, int], quality: int
) -> tuple[Layout, list[str]]:
    """What a format can hold of a picture, and what of it gets lost.

    Raises:
        UserError: If the output is too large for the format.
    """
    if max(size) > format.max_side:
        raise UserError(
            f"{size[0]}x{size[1]} pixels: {format.name} has at most {format.max_side} a side; "
            "use .png or .tif"
        )
    notes = []
    channels, dtype = picture.channels, picture.pixels.dtype
    # As it is; else gray as colours; else without the alpha.
    colours = [channels] if channels > 2 else [channels, channels + 2]
    flat = [n - 1 for n in colours] if picture.has_alpha else []
    channels = next(n for n in [*colours, *flat] if n in format.channels)
    if channels in flat and not picture.opaque:
        notes.append(f"{format.name} has no transparency here: put on white")
    if dtype not in format.dtypes:
        deepest = UINT16 if UINT16 in format.dtypes and dtype == FLOAT32 else np.dtype(np.uint8)
        notes.append(
            f"{format.name} has no pixels of {dtype}: rounded to {deepest}; .tif keeps them"
        )
        dtype = deepest
    icc = picture.icc if format.icc and (channels < 3) == (picture.channels < 3) else None
    if icc != picture.icc:
        notes.append(f"{format.name} cannot hold its colour profile: left out")
    return Layout(*size, channels, dtype, icc, quality), notes


def _counted(bands: Iterator[Tensor], total: int, progress: Progress) -> Iterator[Tensor]:
    done = 0
    for band in bands:
        yield band
        done += band.shape[2]
        progress(done, total)
