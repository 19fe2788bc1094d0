"""Render parts of a picture again and again without encoding it again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import torch
from torch import Tensor

from engine import DataNorm
from models.reading.latent import Last
from rendering.decoding import Scene, Span
from rendering.picture import Picture
from rendering.recent import Recent
from rendering.tile_size import widened
from rendering.tiles import Renderer

SIDE = 256  # of a tile, in input pixels


def kept_tiles(limit: float) -> Recent[Tensor]:
    """Make a memory for the feature maps of tiles, of a number of bytes."""
    return Recent(limit, lambda feat: feat.nbytes)


class TileKeeper(Renderer):
    """A renderer that keeps the feature maps of the tiles that it encodes.

    All pictures are divided in the same way, whichever part is rendered. A picture that its model
    cannot encode in parts has one tile. Several threads may render at once.

    Args:
        tiles: The memory for tiles, which several renderers may share.
        name: Name of the model in this memory.
        tile: See `Renderer`; how much is prepared at a time.
    """

    def __init__(
        self,
        model: Any,
        data_norm: DataNorm | None,
        tiles: Recent[Tensor],
        name: Hashable,
        tile: int | None = None,
    ) -> None:
        super().__init__(model, data_norm, tile)
        self.tiles, self.name = tiles, name

    def spans(self, picture: Picture, rows: Span, cols: Span) -> Iterator[tuple[Span, Span]]:
        """Yield the rows and columns of the tiles that a part of a picture lies in."""
        height, width = picture.size
        parts = self.knows_parts and self.reach is not None
        down, across = (SIDE, SIDE) if parts else (height, width)
        for top in range(rows[0] - rows[0] % down, rows[1], down):
            for left in range(cols[0] - cols[0] % across, cols[1], across):
                yield (top, min(top + down, height)), (left, min(left + across, width))

    @torch.no_grad()
    def keep(self, picture: Picture, rows: Span, cols: Span) -> Tensor:
        """Return the feature map of a tile, encoded now or before."""

        def made() -> Tensor:
            read, kept = self._seen_from(rows, cols, picture.size)
            return self.model.features_within(self._planes(picture, *read)[0], kept)

        return self.tiles.get((picture.token, self.name, rows, cols), made)

    def _encode(self, picture: Picture, rows: Span, cols: Span, margins: Span) -> Scene:
        down, across = widened((rows, cols), margins, picture.size)
        if not self.knows_parts:
            down, across = ((0, side) for side in picture.size)
        planes, beyond = self._planes(picture, slice(*down), slice(*across))
        feat = self._features(picture, down, across)
        origin = down[0], across[0]
        latent = self.model.prepare_part(feat, planes, origin, picture.size)
        return Scene(len(planes), latent, beyond, margins, Last())

    def _features(self, picture: Picture, rows: Span, cols: Span) -> Tensor:
        """Put the feature map of a part together from those of tiles."""
        lines: dict[Span, list[Tensor]] = {}
        for down, across in self.spans(picture, rows, cols):
            feat = self.keep(picture, down, across)
            factor = feat.shape[-2] // (down[1] - down[0])
            seen = _common(rows, down, factor), _common(cols, across, factor)
            lines.setdefault(down, []).append(feat[(..., *seen)])
        whole = torch.cat([torch.cat(line, dim=-1) for line in lines.values()], dim=-2)
        return whole.contiguous(memory_format=torch.channels_last)


def _common(part: Span, tile: Span, factor: int) -> slice:
    """Find what a part and a tile have in common: a slice of the tile's feature map."""
    first, stop = max(part[0], tile[0]) - tile[0], min(part[1], tile[1]) - tile[0]
    return slice(first * factor, stop * factor)
