"""Decode the colours of output pixels from an encoded picture or a tile of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from cli.command import first_line, is_out_of_memory
from engine import DataNorm, clip_cell
from errors import UserError
from models.base import ContinuousModel
from models.reading.latent import Last, Latent
from queries import Queries
from rendering.grid import Axis
from rendering.guard import Guard
from utils import denormalise, sample_bicubic

# Queries decoded at a time; halved when memory runs out.
FEWEST = 1000

Span = tuple[int, int]


class Scene(NamedTuple):
    """The encoded planes of a picture, or of a tile of it.

    Attributes:
        planes: Number of planes.
        latent: Latent that they were encoded to.
        beyond: Part of the values outside [0, 1], which the model does not get; None if nothing is.
        margins: Rows and columns around the tile.
        guard: The guard of the last output, by the output's grid.
    """

    planes: int
    latent: Latent
    beyond: Tensor | None
    margins: Span
    guard: Last[Guard]

    def with_context(self, context: tuple[Tensor, ...] | None) -> Scene:
        """Add the context, what each query needs to know of all others; None adds nothing."""
        if context is None:
            return self
        return self._replace(latent=replace(self.latent, context=context))


class Decoder:
    """A decoder of scenes that uses one model.

    Args:
        model, norm: See `Renderer`.
        device: Device of the model.
    """

    def __init__(self, model: ContinuousModel, norm: DataNorm, device: torch.device) -> None:
        self.model, self.norm, self.device = model, norm, device
        self.queries = model.rendered_on_cuda if device.type == "cuda" else model.rendered
        self.guarded = model.guarded and not model.spans_queries

    @torch.no_grad()
    def decode(self, scene: Scene, rows: Axis, cols: Axis) -> Tensor:
        """Decode output pixels within a scene to colours (K, C, r, c), on the CPU, not clamped.

        Raises:
            UserError: If there is not enough memory even for a few queries at a time.
        """
        if self.model.spans_queries and scene.latent.context is None:
            latent = scene.latent

            def all_queries() -> Iterator[tuple[Latent, Queries]]:
                return ((latent, queries) for queries in self.pieces(scene, rows, cols))

            return self.decode(scene.with_context(self.model.summarise(all_queries)), rows, cols)
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
        for queries in self.pieces(scene, rows, cols):
            colours = self._colours(scene, queries)
            if guard is not None:
                colours = guard.apply(colours, queries)
            if scene.beyond is not None:
                place = scene.latent.whole, scene.latent.origin, queries.fast_axes
                colours = colours + sample_bicubic(scene.beyond, queries.coord, *place)
            parts.append(colours.mT.unflatten(2, (-1, len(cols))).float().cpu())
        return torch.cat(parts, dim=2)

    def _colours(self, scene: Scene, queries: Queries) -> Tensor:
        """Query the model for colours (K, Q, C)."""
        return denormalise(self.model.decode(scene.latent, queries), self.norm["gt"], 2)

    def _guard(self, scene: Scene, rows: Axis, cols: Axis) -> Guard | None:
        """Get the guard of a scene for an output; None for a model that needs none."""
        latent, cell = scene.latent, self._cell(rows, cols)
        if not self.guarded:
            return None

        def colours(coord: Tensor) -> Tensor:
            parts = (
                self._colours(scene, Queries(part, cell.to(part.dtype).expand_as(part)))
                for part in coord.expand(scene.planes, -1, -1).split(self.queries, dim=1)
            )
            return torch.cat(list(parts), dim=1).float()

        def made() -> Guard:
            pixels = denormalise(latent.inp, self.norm["inp"], 1)
            place = (latent.whole, latent.origin, scene.margins, (rows, cols))
            return Guard(pixels, *place, colours)

        return scene.guard.get((rows.phase, cols.phase), made)

    def pieces(self, scene: Scene, rows: Axis, cols: Axis) -> Iterator[Queries]:
        """Yield the queries of an output, some rows at a time."""
        cell, picture = self._cell(rows, cols), (rows.count, cols.count)
        y, x = (axis.centres.to(self.device, cell.dtype) for axis in (rows, cols))
        for part in y.split(max(1, self.queries // max(len(x), 1))):
            yield Queries.grid(part, x, cell, scene.planes, picture)

    def _cell(self, rows: Axis, cols: Axis) -> Tensor:
        """Compute the size of an output pixel as the model gets it: (2,)."""
        dtype = torch.promote_types(rows.centres.dtype, cols.centres.dtype)
        cell = torch.tensor([rows.cell, cols.cell], dtype=dtype, device=self.device)
        return clip_cell(self.model, cell, (rows.size, cols.size))


def if_out_of_memory(error: Exception) -> str:
    """Return the message of an out-of-memory error; raise any other error again."""
    if not is_out_of_memory(error):
        raise error
    return first_line(error)
