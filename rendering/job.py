"""One picture from a file, rendered, to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from configs.files import written_whole
from configs.spec import UserError
from datasets.opening import MAX_PIXELS as MAX_INPUT_PIXELS
from rendering.colour import only_in_png
from rendering.decoding import Scene
from rendering.grid import (
    MAX_PIXELS,
    Axis,
    Region,
    check_count,
    checked_region,
    output_counts,
    output_grid,
)
from rendering.metadata.parts import carried
from rendering.picture import Picture
from rendering.prints import Fit, Fitted, Paper, fitted, framed, printed
from rendering.reading import read_picture
from rendering.tiles import Renderer
from rendering.writing import FLOAT32, UINT16, Format, Layout, format_of

# Called with the rows done, and all rows.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Wanted:
    """What is asked of an output; exactly one of the first three and `paper` says its size.

    Attributes:
        scale, resolution, long_side, region, max_pixels: See `output_grid`.
        quality: Of lossy formats, 1 to 100.
        dpi: Pixels per inch that are written into the file, and for a paper are needed; None: as
            the input says.
        paper: What the output is to fill.
        fit: What to do where the output has another shape than the input; see `fitted`.
        strip: Of what the input says beside its pixels keep the colour profile only.
        lossless: Of formats that can be both.
        max_input_pixels: Of the largest input.
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

    def fitted(self, size: tuple[int, int]) -> Fitted:
        """How an input of (h, w) pixels lies in the output.

        Raises:
            UserError: If it cannot, or has another shape than the paper.
        """
        part = checked_region(self.region, size)
        if self.paper is not None:
            if self.dpi is None:
                raise UserError("a print needs its dpi, such as 300")
            return printed(part, self.paper, self.dpi, self.fit)
        shape = (part.height, part.width)
        counts = output_counts(shape, self.scale, self.resolution, self.long_side)
        return fitted(part, counts, self.fit)

    def grid(self, size: tuple[int, int]) -> tuple[Axis, Axis]:
        """Rows and columns that are rendered for an input of a size, without a border.

        Raises:
            UserError: As of `fitted`; or if the output has too many pixels.
        """
        found = self.fitted(size)
        check_count(found.size, self.max_pixels)
        return output_grid(
            size, resolution=found.counts, region=found.part, max_pixels=self.max_pixels
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
) -> Done:
    """Read, render and write; the output appears whole or not at all.

    Raises:
        UserError: If the input or the output cannot be what is asked for.
        OSError: If it cannot be written.
    """
    format_of(target)
    check_target(source, target)
    return render_picture(
        renderer, read_picture(source, wanted.max_input_pixels), target, wanted, progress
    )


def check_target(source: str | Path, target: str | Path) -> None:
    """Raise a `UserError` if the output would take the place of the input."""
    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise UserError(f"{source}: the output would replace it; choose another name")


def render_picture(
    renderer: Renderer,
    picture: Picture,
    target: str | Path,
    wanted: Wanted,
    progress: Progress | None = None,
    scene: Scene | None = None,
) -> Done:
    """Render and write what is read already.

    Args:
        scene: The picture, encoded; see `Renderer.render`.

    Raises:
        UserError, OSError: As `render_file`.
    """
    format, target = format_of(target), Path(target)
    placed = wanted.fitted(picture.size)
    rows, cols = wanted.grid(picture.size)
    layout, notes = fit(picture, format, placed.size, wanted)
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target) as file:
        bands = renderer.render(picture, rows, cols, scene)
        if progress is not None:
            bands = _counted(bands, len(rows), progress)
        pixels = (picture.rows(band, layout.channels, layout.dtype) for band in bands)
        format.write(file, layout, framed(pixels, placed.border, layout.width, picture.opaque))
    notes = [*picture.notes, *renderer.notes(picture), *placed.notes, *notes]
    return Done(*placed.size, tuple(notes))


def fit(
    picture: Picture, format: Format, size: tuple[int, int], wanted: Wanted
) -> tuple[Layout, list[str]]:
    """What a format can hold of a picture, and what of it gets lost.

    Raises:
        UserError: If the output is too large for the format, or shall be lossless, and cannot.
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
    cicp = picture.cicp if format.name == "PNG" else None
    if picture.cicp and not cicp and (name := only_in_png(picture.cicp)):
        notes.append(f"{format.name} cannot hold its colours, {name}: left out; .png keeps them")
    h, w = picture.size
    whole = wanted.region is None and wanted.fit in (None, "stretch")
    metadata, lost = carried(
        None if wanted.strip else picture.metadata,
        format.room,
        size,
        (size[0] / h, size[1] / w) if whole else None,
        wanted.dpi,
    )
    layout = Layout(
        *size, channels, dtype, icc, wanted.quality, wanted.lossless, metadata=metadata, cicp=cicp
    )
    return layout, [*notes, *lost]


def _counted(bands: Iterator[Tensor], total: int, progress: Progress) -> Iterator[Tensor]:
    done = 0
    for band in bands:
        yield band
        done += band.shape[2]
        progress(done, total)
