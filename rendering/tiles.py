"""Render in bounded memory: encode the input in tiles, and make the output in bands of rows.

A tile is encoded together with all pixels that the encoder sees from it, and queries keep their
coordinates in the whole image. So the result is the same as with the image encoded whole, without
seams.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine import PUBLISHED_NORM, DataNorm, check_data_norm
from errors import UserError
from models.channels import colour_channels
from models.published import as_continuous
from models.reading.latent import Last, Latent
from queries import Queries
from rendering import tile_size
from rendering.decoding import Decoder, Scene, Span, if_out_of_memory
from rendering.grid import Axis
from rendering.guard import BESIDE, PROBED, REACH
from rendering.picture import Picture
from rendering.shrink import Shrinking
from rendering.transparency import consistent
from utils import normalise

BAND = 2**20  # output pixels
BUDGET = 512 * 2**20  # bytes for tiles on a CPU, where more helps only with a long reach


class Band(NamedTuple):
    """A band of output rows, and the tiles that they cross, with the output columns of each."""

    rows: Axis
    parts: list[tuple[Scene, slice]]


class Renderer:
    """A renderer of pictures that uses one model.

    Args:
        model: In evaluation mode, on the device that does the work.
        data_norm: Data normalisation of the model; None: that of the published checkpoints.
        tile: Side of the tiles in input pixels; 0: the image is encoded whole; None: whole if that
            is estimated to fit into memory, else as large as fits. If memory runs out, tiles get
            smaller.
    """

    def __init__(
        self, model: Any, data_norm: DataNorm | None = None, tile: int | None = None
    ) -> None:
        self.model = as_continuous(model)
        self.norm = data_norm or PUBLISHED_NORM
        self.tile = tile
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.channels = colour_channels(self.model)
        check_data_norm(self.norm, self.channels)
        self.decoder = Decoder(self.model, self.norm, self.device)
        self.largest_tile = sys.maxsize  # reduced when memory runs out
        self.knows_parts = self.model.margin is not None
        self.margin = self.model.margin or 0
        if tile and not self.knows_parts:
            raise UserError(f"--tile {tile}: the decoder of this model knows whole images only")

    @cached_property
    def memory(self) -> tile_size.Memory:
        return tile_size.find_memory(self.model, self.channels)

    @cached_property
    def reach(self) -> int | None:
        return tile_size.find_reach(self.model)

    def notes(self, picture: Picture) -> tuple[str, ...]:
        """Get messages for the user about how a picture is rendered."""
        if self.channels < 3 <= picture.channels:
            return ("this model is for gray images: red, green and blue are rendered one by one",)
        return ()

    @torch.no_grad()
    def render(
        self, picture: Picture, rows: Axis, cols: Axis, scene: Scene | None = None
    ) -> Iterator[Tensor]:
        """Render bands of output rows, from the top.

        An axis that shrinks is filtered (see `Shrinking`), so there is no aliasing, and scale 1
        gives the picture itself, restored if the model does that. For pixels finer than the model
        knows, see `Guard`.

        Args:
            rows, cols: The output grid.
            scene: The picture as encoded by `encode`; None: it is encoded here.

        Yields:
            Bands (K, C, r, W) of the K planes of the picture, float32, not clamped, on the CPU.

        Raises:
            UserError: If there is not enough memory for the smallest tile, or the model is for
                other images.
        """
        shrinking = Shrinking(rows, cols)
        if not (shrinking.needs_network or self.model.restores):
            seen = shrinking.rows.span(), shrinking.cols.span()
            yield from shrinking.filter(self._as_they_are(picture, *seen))
            return
        done = 0
        bands = self._decoded(picture, shrinking.rows, shrinking.cols, scene)
        for band in shrinking.filter(bands):
            begun, done = done, done + band.shape[2]
            if not picture.opaque:
                band = consistent(picture, band, rows[begun:done], cols)
            yield band

    def _as_they_are(self, picture: Picture, rows: Span, cols: Span) -> Iterator[Tensor]:
        """Yield bands of the picture's own planes."""
        step = max(1, BAND // (cols[1] - cols[0]))
        for top in range(*rows, step):
            seen = slice(top, min(top + step, rows[1]))
            yield picture.planes(seen, slice(*cols), self.channels)

    def _decoded(
        self, picture: Picture, rows: Axis, cols: Axis, scene: Scene | None
    ) -> Iterator[Tensor]:
        """Yield bands of the model's output."""
        count = picture.count(self.channels)
        sides = [stop - first for first, stop in (rows.span(), cols.span())]
        tile = max(sides) if scene else self._choose_tile(count, *sides)
        context: tuple[Tensor, ...] | None = None
        kept = [scene] if scene else []
        if self.model.spans_queries:
            queries = partial(self._queries, picture, rows, cols, tile, kept)
            context = self.model.summarise(queries)
        for band, parts in self._bands(picture, rows, cols, tile, kept):
            shape = (count, self.channels, len(band), len(cols))
            out = torch.empty(shape, dtype=torch.float32)
            for scene, columns in parts:
                known = scene.with_context(context)
                out[..., columns] = self.decoder.decode(known, band, cols[columns])
            yield picture.levels.from_unit(out, picture.colours(self.channels))
            del scene, known, parts  # before the next ones are made

    def _bands(
        self, picture: Picture, rows: Axis, cols: Axis, tile: int, kept: list[Scene]
    ) -> Iterator[Band]:
        """Yield bands of output rows from the top, tile by tile.

        Args:
            kept: List that holds the tile for further passes, if there is only one.
        """
        (top, bottom), (left, right) = rows.span(), cols.span()
        margins = self._margins(rows, cols)
        while top < bottom:
            tile = tile if kept else min(tile, self.largest_tile)
            edge = min(top + tile, bottom)
            across = [(start, min(start + tile, right)) for start in range(left, right, tile)]
            full = ""
            try:
                scenes = kept or [
                    self._encode(picture, (top, edge), part, margins) for part in across
                ]
            except (RuntimeError, MemoryError) as error:
                full = if_out_of_memory(error)
            if full:  # here the error no longer holds on to memory
                self._use_smaller(tile, max(bottom - top, right - left), full)
                continue
            if self.model.spans_queries and len(scenes) == 1 and rows.span() == (top, edge):
                kept[:] = scenes
            columns = [cols.within(*part) for part in across]
            wanted = rows.within(top, edge)
            step = max(1, BAND // len(cols))
            for first in range(wanted.start, wanted.stop, step):
                band = rows[first : min(first + step, wanted.stop)]
                yield Band(band, list(zip(scenes, columns, strict=True)))
            del scenes
            top = edge

    def _queries(
        self, picture: Picture, rows: Axis, cols: Axis, tile: int, kept: list[Scene]
    ) -> Iterator[tuple[Latent, Queries]]:
        """Yield all queries of a picture, as `ContinuousModel.summarise` takes them."""
        for band, parts in self._bands(picture, rows, cols, tile, kept):
            for scene, columns in parts:
                for queries in self.decoder.pieces(scene, band, cols[columns]):
                    yield scene.latent, queries
            del scene, parts

    def fits(self, picture: Picture) -> bool:
        """Check whether a picture can be encoded whole and kept for several renderings."""
        if not self.model.keeps_latents:
            return False
        if not self.knows_parts or self.tile == 0:
            return True  # it is never encoded in tiles, whatever memory that takes
        height, width = picture.size
        if self.tile and self.tile < max(height, width):
            return False
        pixels = height * width * picture.count(self.channels)
        return pixels * (self.memory.encoding + self.memory.latent) <= self._free_memory()

    @torch.no_grad()
    def encode(self, picture: Picture, rows: Axis | None = None, cols: Axis | None = None) -> Scene:
        """Encode a picture for `render`.

        Args:
            rows, cols: An output grid: only what is needed for it, and for finer ones within it, is
                encoded; None: everything.

        Raises:
            UserError: If there is not enough memory.
        """
        try:
            if rows is None or cols is None:
                return self._encode_whole(picture)
            seen = Shrinking(rows, cols)
            spans = seen.rows.span(), seen.cols.span()
            return self._encode(picture, *spans, self._margins(rows, cols))
        except (RuntimeError, MemoryError) as error:
            raise UserError(f"out of memory: {if_out_of_memory(error)}") from None

    def _encode_whole(self, picture: Picture) -> Scene:
        planes, beyond = self._planes(picture)
        return Scene(len(planes), self.model.encode(planes), beyond, (0, 0), Last())

    def _margins(self, rows: Axis, cols: Axis) -> Span:
        """Count the pixels around a tile that its queries read; output pixels may overhang it."""
        if not self.knows_parts:
            return 0, 0
        around = self.margin
        if self.decoder.guarded:
            around = max(around + PROBED + BESIDE, REACH)
        down, across = (around + math.ceil(axis.cell * axis.size / 4) for axis in (rows, cols))
        return down, across

    def _encode(self, picture: Picture, rows: Span, cols: Span, margins: Span) -> Scene:
        """Encode a tile of a picture."""
        sizes = picture.size
        if not self.knows_parts or (rows, cols) == ((0, sizes[0]), (0, sizes[1])):
            return self._encode_whole(picture)
        down, across = tile_size.widened((rows, cols), margins, sizes)
        read, keep = self._seen_from(down, across, sizes)
        planes, beyond = self._planes(picture, *read)
        latent = self.model.encode_part(planes, keep, (down[0], across[0]), sizes)
        if beyond is not None:
            beyond = beyond[(..., *keep)].clone()
        return Scene(len(planes), latent, beyond, margins, Last())

    def _seen_from(
        self, rows: Span, cols: Span, sizes: Span
    ) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Find the pixels that the encoder sees from a part, and where the part is among them."""
        reach = tile_size.OVERLAP if self.reach is None else self.reach
        down, across = tile_size.widened((rows, cols), (reach, reach), sizes)
        step = self.model.alignment
        top, left = down[0] - down[0] % step, across[0] - across[0] % step
        read = slice(top, down[1]), slice(left, across[1])
        return read, (slice(rows[0] - top, rows[1] - top), slice(cols[0] - left, cols[1] - left))

    def _planes(
        self, picture: Picture, rows: slice = slice(None), cols: slice = slice(None)
    ) -> tuple[Tensor, Tensor | None]:
        """Get the model's input for a part, and what lies beyond the levels that it knows."""
        planes = picture.planes(rows, cols, self.channels).to(self.device)
        planes = picture.levels.as_unit(planes, picture.colours(self.channels))
        known, beyond = planes, None
        if picture.pixels.dtype.kind == "f":
            known = planes.clamp(0, 1)
            beyond = None if torch.equal(known, planes) else planes - known
        return normalise(known, self.norm["inp"], 1), beyond

    def _choose_tile(self, count: int, height: int, width: int) -> int:
        whole = max(height, width)
        if self.tile == 0 or not self.knows_parts:
            return whole
        if self.tile:
            return tile_size.side_as_asked(self.tile, whole, self.reach)
        free = self._free_memory() / count
        budget = free if self.device.type == "cuda" else min(free, BUDGET / count)
        return tile_size.side_that_fits(height, width, self.memory, self.reach, free, budget)

    def _free_memory(self) -> float:
        return tile_size.free_memory(self.device)

    def _use_smaller(self, tile: int, whole: int, full: str) -> None:
        """Halve the tiles of this picture and all further ones."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            cannot = not self.knows_parts or self.reach is None or tile <= tile_size.SMALLEST
        except (RuntimeError, MemoryError) as error:  # too little even to find the reach
            full, cannot = if_out_of_memory(error), True
        if cannot:
            raise UserError(f"out of memory: {full}")
        self.largest_tile = max(tile_size.SMALLEST, min(tile, whole) // 2)
        print(f"out of memory: going on with tiles of {self.largest_tile} pixels", file=sys.stderr)
