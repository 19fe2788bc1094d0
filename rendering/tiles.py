"""Rendering in bounded memory: the input is encoded in tiles, the output made in bands of rows.

A tile is encoded together with all pixels that the encoder sees from it, and queries keep their
coordinates in the whole image. So the result is that of the image encoded whole, and has no seams.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor

from configs.command import first_line, is_out_of_memory
from configs.spec import UserError
from engine import PUBLISHED_NORM, DataNorm, check_data_norm, clip_cell
from models.base import ContinuousModel, colour_channels
from models.latent import Latent
from rendering.grid import Axis
from rendering.picture import Picture
from rendering.reach import Memory, alignment, find_memory, find_reach
from utils import denormalise, normalise

BAND = 2**20  # output pixels
# Decoded at a time; halved when the memory is full.
QUERIES = 30000  # of models of other code, as many as in published tests
QUERIES_ON_CUDA = 2**18
FEWEST = 1000
OVERLAP = (
    32  # pixels around a tile, where tiles are asked for of a model that sees all of the image
)
SMALLEST = 32
SIDES = (1024, 768, 512, 384, 256, 192, 128, 96, 64, 48, SMALLEST)
BUDGET = 512 * 2**20  # bytes for tiles on a CPU, where more is faster only for a long reach

Span = tuple[int, int]


class Scene(NamedTuple):
    """Encoded planes of a picture, or of a tile of it.

    Attributes:
        planes: How many.
        latent: What they were encoded to; None: the model remembers it.
    """

    planes: int
    latent: Latent | None = None

    def knowing(self, context: tuple[Tensor, ...] | None) -> Scene:
        """The scene with what its queries need to know of all others."""
        if context is None or self.latent is None:
            return self
        return self._replace(latent=replace(self.latent, context=context))


class Band(NamedTuple):
    """Output rows, and the encoded tiles that they cross, with the output columns of each."""

    rows: Axis
    parts: list[tuple[Scene, slice]]


class Renderer:
    """Renders with one model.

    Args:
        model: In evaluation mode, on the device that does the work.
        data_norm: Of the model; that of the published checkpoints if None.
        tile: Side of the tiles in input pixels; 0: the image is encoded whole; None: whole if that
            is estimated to fit into the memory, else as large as fits. Where the memory does not
            suffice, tiles get smaller.
    """

    def __init__(
        self, model: Any, data_norm: DataNorm | None = None, tile: int | None = None
    ) -> None:
        self.model = model
        self.norm = data_norm or PUBLISHED_NORM
        self.tile = tile
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.channels = colour_channels(model)
        check_data_norm(self.norm, self.channels)
        self.queries = QUERIES
        if isinstance(model, ContinuousModel):
            self.queries = QUERIES_ON_CUDA if self.device.type == "cuda" else model.chunk
        self.largest_tile = sys.maxsize  # that the memory has had room for
        self.knows_parts = isinstance(model, ContinuousModel) and model.margin is not None
        self.spans = getattr(model, "spans_queries", False)
        if tile and not self.knows_parts:
            raise UserError(f"--tile {tile}: the decoder of this model knows whole images only")

    @cached_property
    def memory(self) -> Memory:
        return find_memory(self.model, self.channels)

    @cached_property
    def reach(self) -> int | None:
        return find_reach(self.model)

    def notes(self, picture: Picture) -> tuple[str, ...]:
        """What a user should know of how a picture is rendered."""
        if self.channels < 3 <= picture.channels:
            return ("this model is for gray images: red, green and blue are rendered one by one",)
        return ()

    @torch.no_grad()
    def render(
        self, picture: Picture, rows: Axis, cols: Axis, scene: Scene | None = None
    ) -> Iterator[Tensor]:
        """Bands of output rows, from the top.

        Args:
            rows, cols: The output grid.
            scene: The whole picture, encoded, to decode from; None: it is encoded here.

        Yields:
            (K, C, r, W) of the K planes of the picture, float32, not clamped, on the CPU.

        Raises:
            UserError: If the memory does not suffice for the smallest tile, or the model is for
                other images.
        """
        count = picture.count(self.channels)
        sides = [stop - first for first, stop in _spans(rows, cols)]
        tile = max(sides) if scene else self._choose_tile(count, *sides)
        context: tuple[Tensor, ...] | None = None
        kept = [scene] if scene else []
        if self.spans:
            queries = partial(self._queries, picture, rows, cols, tile, kept)
            context = self.model.survey(queries, _picture_size(rows, cols))
        for band, parts in self._bands(picture, rows, cols, tile, kept):
            out = torch.empty(count, self.channels, len(band), len(cols))
            for scene, columns in parts:
                out[..., columns] = self.decode(scene.knowing(context), band, cols[columns])
            yield out
            del scene, parts  # before the next ones are made

    def _bands(
        self, picture: Picture, rows: Axis, cols: Axis, tile: int, kept: list[Scene]
    ) -> Iterator[Band]:
        """Bands of output rows from the top, tile by tile.

        Args:
            kept: Where the tile is, for further passes, if it is the only one.
        """
        (top, bottom), (left, right) = _spans(rows, cols)
        margins = (self._margin(rows), self._margin(cols)) if self.knows_parts else (0, 0)
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
                full = _if_out_of_memory(error)
            if full:  # here the error no longer holds what was allocated
                self._use_smaller(tile, max(bottom - top, right - left), full)
                continue
            if self.spans and len(scenes) == 1 and rows.span() == (top, edge):
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
    ) -> Iterator[tuple[Latent, Tensor, Tensor]]:
        """All queries of a picture, as `ContinuousModel.survey` takes them."""
        for band, parts in self._bands(picture, rows, cols, tile, kept):
            for scene, columns in parts:
                assert scene.latent is not None
                for coord, cell, _ in self._pieces(scene, band, cols[columns]):
                    yield scene.latent, coord, cell
            del scene, parts

    def fits(self, picture: Picture) -> bool:
        """Whether all of a picture can be encoded at once, and kept for several renderings."""
        if not isinstance(self.model, ContinuousModel):
            return False  # it remembers the last picture only
        if not self.knows_parts or self.tile == 0:
            return True  # whatever it needs, it is never encoded in tiles
        height, width = picture.size
        if self.tile and self.tile < max(height, width):
            return False
        pixels = height * width * picture.count(self.channels)
        return pixels * (self.memory.encoding + self.memory.latent) <= self._free_memory()

    @torch.no_grad()
    def encode(self, picture: Picture) -> Scene:
        """All of a picture.

        Raises:
            UserError: If the memory does not suffice.
        """
        try:
            return self._encode_whole(picture)
        except (RuntimeError, MemoryError) as error:
            raise UserError(f"out of memory: {_if_out_of_memory(error)}") from None

    def _encode_whole(self, picture: Picture) -> Scene:
        inp = self._planes(picture)
        if isinstance(self.model, ContinuousModel):
            return Scene(len(inp), self.model.encode(inp))
        self.model.gen_feat(inp)
        return Scene(len(inp))

    def _margin(self, axis: Axis) -> int:
        """Pixels around a tile that its queries read: an output pixel may reach out of the tile."""
        return self.model.margin + math.ceil(axis.cell * axis.size / 4)

    def _encode(self, picture: Picture, rows: Span, cols: Span, margins: Span) -> Scene:
        """A tile of a picture."""
        sizes = picture.size
        if not self.knows_parts or (rows, cols) == ((0, sizes[0]), (0, sizes[1])):
            return self._encode_whole(picture)
        reach = OVERLAP if self.reach is None else self.reach
        step = alignment(self.model)
        read, keep = [], []
        for (start, stop), size, margin in zip((rows, cols), sizes, margins, strict=True):
            kept = (max(start - margin, 0), min(stop + margin, size))
            first = max(kept[0] - reach, 0)
            seen = slice(first - first % step, min(kept[1] + reach, size))
            read.append(seen)
            keep.append(slice(kept[0] - seen.start, kept[1] - seen.start))
        origin = (read[0].start + keep[0].start, read[1].start + keep[1].start)
        inp = self._planes(picture, *read)
        return Scene(len(inp), self.model.encode_part(inp, (keep[0], keep[1]), origin, sizes))

    def _planes(
        self, picture: Picture, rows: slice = slice(None), cols: slice = slice(None)
    ) -> Tensor:
        planes = picture.planes(rows, cols, self.channels).to(self.device)
        return normalise(planes, self.norm["inp"], 1)

    @torch.no_grad()
    def decode(self, scene: Scene, rows: Axis, cols: Axis) -> Tensor:
        """Colours of output pixels within a scene: (K, C, r, c), on the CPU, not clamped.

        Raises:
            UserError: If the memory does not suffice for a few queries at a time.
        """
        if self.spans and scene.latent is not None and scene.latent.context is None:
            latent, pieces = scene.latent, partial(self._pieces, scene, rows, cols)
            queries = lambda: ((latent, coord, cell) for coord, cell, _ in pieces())  # noqa: E731
            scene = scene.knowing(self.model.survey(queries, _picture_size(rows, cols)))
        while True:
            full = ""
            try:
                return self._decode(scene, rows, cols)
            except (RuntimeError, MemoryError) as error:
                full = _if_out_of_memory(error)
            if self.queries <= FEWEST:
                raise UserError(f"out of memory: {full}")
            self.queries //= 2

    def _decode(self, scene: Scene, rows: Axis, cols: Axis) -> Tensor:
        known = {} if scene.latent is None else {"latent": scene.latent}
        parts = []
        for coord, cell, shape in self._pieces(scene, rows, cols):
            pred = self.model.query_rgb(coord, cell, **known)
            colours = denormalise(pred, self.norm["gt"], 2).mT.unflatten(2, shape)
            parts.append(colours.float().cpu())
        return torch.cat(parts, dim=2)

    def _pieces(
        self, scene: Scene, rows: Axis, cols: Axis
    ) -> Iterator[tuple[Tensor, Tensor, tuple[int, int]]]:
        """Some rows at a time: coord and cell (K, Q, 2), and how many rows and columns they are."""
        dtype = torch.promote_types(rows.centres.dtype, cols.centres.dtype)
        y, x = (axis.centres.to(self.device, dtype) for axis in (rows, cols))
        size = torch.tensor([rows.cell, cols.cell], dtype=y.dtype, device=self.device)
        size = clip_cell(self.model, size, (rows.size, cols.size))
        for part in y.split(max(1, self.queries // max(len(x), 1))):
            coord = torch.cartesian_prod(part, x).expand(scene.planes, -1, -1)
            yield coord, size.expand_as(coord), (len(part), len(x))

    def _choose_tile(self, count: int, height: int, width: int) -> int:
        whole = max(height, width)
        if self.tile == 0 or not self.knows_parts:
            return whole
        if self.tile:
            if self.tile < whole and self.reach is None:
                print(
                    f"warning: this model sees all of the image; tiles that overlap by {OVERLAP} "
                    "pixels will not give quite the same colours",
                    file=sys.stderr,
                )
            return min(self.tile, whole)
        free = self._free_memory() / count
        frugal = free if self.device.type == "cuda" else min(free, BUDGET / count)

        def needed(side: int, around: int = 0) -> float:
            seen = min(side + 2 * around, height) * min(side + 2 * around, width)
            band = min(side, height) * width
            return seen * self.memory.encoding + band * self.memory.latent

        if needed(whole) <= frugal or self.reach is None:
            return whole
        reach = self.reach
        fitting = [side for side in SIDES if needed(side, reach) <= free] or [SMALLEST]
        # A tile smaller than what is seen around it would cost more time than it saves memory.
        side = next((s for s in fitting if s <= 2 * reach or needed(s, reach) <= frugal), SMALLEST)
        seen_whole = side + 2 * reach >= whole and needed(whole) <= free
        return whole if seen_whole else side

    def _free_memory(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0] / 2
        return psutil.virtual_memory().available / 4

    def _use_smaller(self, tile: int, whole: int, full: str) -> None:
        """Halve the tiles of this and of further pictures."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            cannot = not self.knows_parts or self.reach is None or tile <= SMALLEST
        except (RuntimeError, MemoryError) as error:  # not even for a look at the encoder
            full, cannot = _if_out_of_memory(error), True
        if cannot:
            raise UserError(f"out of memory: {full}")
        self.largest_tile = max(SMALLEST, min(tile, whole) // 2)
        print(f"out of memory: going on with tiles of {self.largest_tile} pixels", file=sys.stderr)


def _spans(rows: Axis, cols: Axis) -> tuple[Span, Span]:
    return rows.span(), cols.span()


def _picture_size(rows: Axis, cols: Axis) -> tuple[int, int]:
    """Of the whole picture, though only a part of it be rendered."""
    return round(2 / rows.cell), round(2 / cols.cell)


def _if_out_of_memory(error: Exception) -> str:
    """What it says; any other error goes on."""
    if not is_out_of_memory(error):
        raise error
    return first_line(error)
