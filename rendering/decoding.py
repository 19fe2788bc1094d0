"""Colours of output pixels from an encoded picture, or from a tile of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cli.command import first_line, is_out_of_memory
from engine import DataNorm, clip_cell
from errors import UserError
from models.base import ContinuousModel
from models.reading.latent import Latent
from rendering.grid import Axis
from rendering.guard import Guard
from utils import denormalise, sample_bicubic

# Decoded at a time; halved when the memory is full.
QUERIES = 30000  # of models of other code, as many as in published tests
QUERIES_ON_CUDA = 2**18
FEWEST = 1000

Span = tuple[int, int]


class Scene(NamedTuple):
    """Encoded planes of a picture, or of a tile of it.

    Attributes:
        planes: How many.
        latent: What they were encoded to; None: the model remembers it.
        beyond: What the planes have beyond [0, 1], which the model was not given; None: nothing.
        margins: Rows and columns around the tile.
        guards: The latest one, by the output's grid.
    """

    planes: int
    latent: Latent | None
    beyond: Tensor | None
    margins: Span
    guards: dict[Any, Guard]

    def knowing(self, context: tuple[Tensor, ...] | None) -> Scene:
        """The scene with what its queries need to know of all others."""
        if context is None or self.latent is None:
            return self
        return self._replace(latent=replace(self.latent, context=context))


class Decoder:
    """Decodes with one model.

    Args:
        model, norm: As of `Renderer`.
        device: Where the model is.
    """

    def __init__(self, model: Any, norm: DataNorm, device: torch.device) -> None:
        self.model, self.norm, self.device = model, norm, device
        self.queries = QUERIES
        if isinstance(model, ContinuousModel):
            self.queries = QUERIES_ON_CUDA if device.type == "cuda" else model.rendered
        self.spans = getattr(model, "spans_queries", False)
        self.guarded = getattr(model, "guarded", False) and not self.spans

    @torch.no_grad()
    def decode(self, scene: Scene, rows: Axis, cols: Axis) -> Tensor:
        """Colours of output pixels within a scene: (K, C, r, c), on the CPU, not clamped.

        Raises:
            UserError: If the memory does not suffice for a few queries at a time.
        """
        if self.spans and scene.latent is not None and scene.latent.context is None:
            latent, pieces = scene.latent, partial(self.pieces, scene, rows, cols)
            queries = lambda: ((latent, coord, cell) for coord, cell, _ in pieces())  # noqa: E731
            scene = scene.knowing(self.model.survey(queries, picture_size(rows, cols)))
        while True:
            full = ""
            try:
                return self._decode(scene, rows, cols)
            except (RuntimeError, MemoryError) as error:
                full = if_out_of_memory(error)
            if self.queries <= FEWEST:
                raise UserError(f"out of memory: {full}")
            self.queries //= 2

    def _decode(self, scene: Scene, rows: Axis, cols: Axis) -> Tensor:
        guard = self._guard(scene, rows, cols)
        parts = []
        for coord, cell, shape in self.pieces(scene, rows, cols):
            colours = self._colours(scene, coord, cell)
            if guard is not None:
                colours = guard.apply(colours, coord)
            if scene.beyond is not None:
                place = () if scene.latent is None else (scene.latent.whole, scene.latent.origin)
                colours = colours + sample_bicubic(scene.beyond, coord, *place)
            parts.append(colours.mT.unflatten(2, shape).float().cpu())
        return torch.cat(parts, dim=2)

    def _colours(self, scene: Scene, coord: Tensor, cell: Tensor) -> Tensor:
        """Colours that the model gives at coord (K, Q, 2): (K, Q, C)."""
        known = {} if scene.latent is None else {"latent": scene.latent}
        return denormalise(self.model.query_rgb(coord, cell, **known), self.norm["gt"], 2)

    def _guard(self, scene: Scene, rows: Axis, cols: Axis) -> Guard | None:
        """The guard of a scene for an output; None for a model that needs none."""
        latent, cell = scene.latent, self._cell(rows, cols)
        if latent is None or not self.guarded:
            return None

        def colours(coord: Tensor) -> Tensor:
            parts = (
                self._colours(scene, part, cell.to(part.dtype).expand_as(part))
                for part in coord.expand(scene.planes, -1, -1).split(self.queries, dim=1)
            )
            return torch.cat(list(parts), dim=1).float()

        key = rows.phase, cols.phase
        if key not in scene.guards:
            pixels = denormalise(latent.inp, self.norm["inp"], 1)
            place = (latent.whole, latent.origin, scene.margins, (rows, cols))
            scene.guards.clear()  # each is as large as the picture
            scene.guards[key] = Guard(pixels, *place, colours)
        return scene.guards[key]

    def pieces(
        self, scene: Scene, rows: Axis, cols: Axis
    ) -> Iterator[tuple[Tensor, Tensor, tuple[int, int]]]:
        """Some rows at a time: coord and cell (K, Q, 2), and how many rows and columns they are."""
        cell = self._cell(rows, cols)
        y, x = (axis.centres.to(self.device, cell.dtype) for axis in (rows, cols))
        for part in y.split(max(1, self.queries // max(len(x), 1))):
            coord = torch.cartesian_prod(part, x).expand(scene.planes, -1, -1)
            yield coord, cell.expand_as(coord), (len(part), len(x))

    def _cell(self, rows: Axis, cols: Axis) -> Tensor:
        """The size of an output pixel, as the model is told it: (2,)."""
        dtype = torch.promote_types(rows.centres.dtype, cols.centres.dtype)
        cell = torch.tensor([rows.cell, cols.cell], dtype=dtype, device=self.device)
        return clip_cell(self.model, cell, (rows.size, cols.size))


def picture_size(rows: Axis, cols: Axis) -> tuple[int, int]:
    """(H, W) of the whole output, though only a part of it be rendered."""
    return round(2 / rows.cell), round(2 / cols.cell)


def if_out_of_memory(error: Exception) -> str:
    """What it says; any other error goes on."""
    if not is_out_of_memory(error):
        raise error
    return first_line(error)
