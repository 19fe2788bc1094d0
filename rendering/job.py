"""Read one picture from a file, render it, and write it to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from datasets.opening import MAX_PIXELS as MAX_INPUT_PIXELS
from errors import UserError
from files.whole import written_whole
from rendering.colour import only_in_png
from rendering.decoding import Scene
from rendering.grid import (
    MAX_PIXELS,
    Axis,
    Fit,
    Fitted,
    Region,
    check_count,
    checked_region,
    fitted,
    output_counts,
    output_grid,
)
from rendering.inputs import check_target
from rendering.metadata.parts import Metadata, carried
from rendering.pace import Progress, counted
from rendering.picture import Picture
from rendering.prints import Paper, framed, printed
from rendering.reading import read_picture
from rendering.tiles import Renderer
from rendering.wrapping import wrapped
from rendering.writing import FLOAT32, UINT16, Format, Layout, format_of

Commit = Callable[[BinaryIO], None]
SAME_ROWS = 256  # rows passed on at a time where pixels are copied unchanged


class Placed(NamedTuple):
    """The placement of an input in an output, and the rows and columns to render."""

    fitted: Fitted
    rows: Axis
    cols: Axis


@dataclass(frozen=True)
class Wanted:
    """The options of an output; exactly one of scale, resolution, long_side and paper is set.

    Attributes:
        scale, resolution, long_side, region, max_pixels: See `output_grid`.
        quality: Quality of lossy formats, 1 to 100.
        dpi: Pixels per inch that are written into the file, required for a paper; None keeps that
            of the input.
        paper: Paper that the output is to fill.
        fit: What to do where the output has another shape than the input; see `fitted`.
        strip: Leave out all metadata except the colour profile.
        lossless: Use lossless compression in formats that have both kinds.
        max_input_pixels: Number of pixels of the largest input.
        wrap: The input is a seamless texture, whose opposite edges match.
    """

    scale: tuple[float, float] | None = None
    resolution: tuple[int, int] | None = None
    long_side: int | None = None
    region: Region | None = None
    max_pixels: int = MAX_PIXELS
    quality: int = 95
    dpi: float | None = None
    paper: Paper | None = None
    fit: Fit | None = None
    strip: bool = False
    lossless: bool = False
    max_input_pixels: int = MAX_INPUT_PIXELS
    wrap: bool = False

    def fitted(self, size: tuple[int, int]) -> Fitted:
        """Work out how an input of (h, w) pixels lies in the output.

        Raises:
            UserError: If the options do not suit it, or it has another shape than the paper and
                ``fit`` is not set.
        """
        part = checked_region(self.region, size)
        if self.paper is not None:
            if self.dpi is None:
                raise UserError("a print needs its dpi, such as 300")
            return printed(part, self.paper, self.dpi, self.fit)
        shape = (part.height, part.width)
        counts = output_counts(shape, self.scale, self.resolution, self.long_side)
        return fitted(part, counts, self.fit)

    def placed(self, size: tuple[int, int]) -> Placed:
        """Make the grid of the output for an input of (h, w) pixels.

        Raises:
            UserError: As in `fitted`, or if the output has too many pixels.
        """
        found = self.fitted(size)
        check_count(found.size, self.max_pixels)
        rows, cols = output_grid(
            size, resolution=found.counts, region=found.part, max_pixels=self.max_pixels
        )
        return Placed(found, rows, cols)

    def grid(self, size: tuple[int, int]) -> tuple[Axis, Axis]:
        """Make the rows and columns to render, without a border; see `placed`."""
        return self.placed(size)[1:]

    def factors(self, size: tuple[int, int]) -> tuple[float, float]:
        """Compute the output pixels per input pixel along both axes, without making a grid."""
        counts = output_counts(size, self.scale, self.resolution, self.long_side)
        return counts[0] / size[0], counts[1] / size[1]

    def factors_of_all(
        self, size: tuple[int, int], output: tuple[int, int]
    ) -> tuple[float, float] | None:
        """Get the factors from input to output positions; None if not all of the input is shown.

        Args:
            size, output: (h, w) of the input and the output.
        """
        if self.region is not None or self.fit in ("crop", "pad"):
            return None
        return output[0] / size[0], output[1] / size[1]


class Done(NamedTuple):
    """The size of a picture that was written, and messages for the user."""

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
    """Read, render and write a picture; the output appears whole or not at all.

    Args:
        commit: Called with the complete output file before it moves to its place.

    Raises:
        UserError: If the input cannot be read, or the output cannot be made as asked.
        OSError: If the output cannot be written.
    """
    format = format_of(target)
    check_target(source, target)
    output = into(target, commit)
    picture = read_picture(source, wanted.max_input_pixels)
    return render_picture(renderer, picture, output, format, wanted, progress)


def render_picture(
    renderer: Renderer,
    picture: Picture,
    output: AbstractContextManager[BinaryIO],
    format: Format,
    wanted: Wanted,
    progress: Progress | None = None,
    scene: Scene | None = None,
) -> Done:
    """Render a picture and write it to a file, opened only once the options are checked.

    Args:
        scene: The encoded picture; see `Renderer.render`.

    Raises:
        UserError: If the output cannot be made as asked.
        OSError: If the output cannot be written.
    """
    placed = wanted.placed(picture.size)
    size = placed.fitted.size
    layout, notes = fit(picture, format, size, wanted)
    kind = layout.channels, layout.dtype
    with output as file:
        bands = render_bands(renderer, picture, placed, kind, wanted.wrap, progress, scene)
        format.write(file, layout, bands)
    notes = [*picture.notes, *renderer.notes(picture), *placed.fitted.notes, *notes]
    return Done(*size, tuple(notes))


def render_bands(
    renderer: Renderer,
    picture: Picture,
    placed: Placed,
    kind: tuple[int, np.dtype],
    wrap: bool = False,
    progress: Progress | None = None,
    scene: Scene | None = None,
) -> Iterator[np.ndarray]:
    """Yield bands of rows of an output (r, W, C), from the top.

    Args:
        kind: Channels and dtype of the output.
        wrap: See `Wanted`.
        progress, scene: See `render_picture`.
    """
    (placing, rows, cols), source = placed, picture
    if wrap:
        source, rows, cols = wrapped(renderer, picture, rows, cols)
        scene = None
    repeats = kind == (picture.channels, picture.pixels.dtype) and not renderer.model.restores
    if repeats and (seen := _same_pixels(rows, cols)):
        pixels = _as_it_is(source, *seen)
    else:
        bands = renderer.render(source, rows, cols, scene)
        pixels = (picture.rows(band, *kind) for band in bands)
    if progress is not None:
        pixels = counted(pixels, len(rows), progress)
    if any(placing.border):
        pixels = framed(pixels, placing.border, placing.size[1], picture.opaque)
    return pixels


def _same_pixels(rows: Axis, cols: Axis) -> tuple[slice, slice] | None:
    """Find the part of the input that the output repeats pixel by pixel; None if there is none."""
    axes = (rows, cols)
    if any(axis.step != 1 or not float(axis.start).is_integer() for axis in axes):
        return None
    top, left = (int(axis.start) for axis in axes)
    inside = all(axis.start + len(axis) <= axis.size for axis in axes)
    return (slice(top, top + len(rows)), slice(left, left + len(cols))) if inside else None


def _as_it_is(picture: Picture, rows: slice, cols: slice) -> Iterator[np.ndarray]:
    """Yield bands of the input unchanged, including the colours under transparent pixels."""
    for top in range(rows.start, rows.stop, SAME_ROWS):
        yield picture.pixels[top : min(top + SAME_ROWS, rows.stop), cols].copy()


@contextmanager
def into(target: str | Path, commit: Commit | None = None) -> Iterator[BinaryIO]:
    """Open a file that takes the target's place once it is complete; see `render_file`."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target) as file:
        yield file
        if commit is not None:
            commit(file)


def fit(
    picture: Picture, format: Format, size: tuple[int, int], wanted: Wanted
) -> tuple[Layout, list[str]]:
    """Choose the layout in which a format can hold a picture, and say what gets lost.

    Raises:
        UserError: If the output is too large for the format, or the format cannot be lossless as
            asked.
    """
    if wanted.lossless and format.name == "JPEG":
        raise UserError("--lossless: JPEG always loses something; use .webp, .png or .tif")
    if max(size) > format.max_side:
        raise UserError(
            f"{size[0]}x{size[1]} pixels: {format.name} has at most {format.max_side} a side; "
            "use .png or .tif"
        )
    notes = []
    channels, dtype = picture.channels, picture.pixels.dtype
    # In order of preference: as it is, gray as RGB, without the alpha.
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
    cicp = picture.cicp if format.name == "PNG" else None
    if picture.cicp and not cicp and (name := only_in_png(picture.cicp)):
        notes.append(f"{format.name} cannot hold its colours, {name}: left out; .png keeps them")
    metadata = None if wanted.strip else picture.metadata
    if metadata is not None or wanted.dpi is not None:
        factors = wanted.factors_of_all(picture.size, size)
        found = metadata or Metadata()
        metadata, lost = carried(found, format.room, size, factors, wanted.dpi)
        notes += lost
    layout = Layout(
        *size, channels, dtype, icc, wanted.quality, wanted.lossless, metadata=metadata, cicp=cicp
    )
    return layout, notes
