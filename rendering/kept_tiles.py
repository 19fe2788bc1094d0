"""Render parts of a picture again and again without encoding it again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

from engine import DataNorm
from rendering.decoding import Scene, Span
from rendering.grid import Axis
from rendering.picture import Picture
from rendering.recent import Recent
from rendering.tiles import Band, Renderer

SIDE = 256  # of a tile, in input pixels


class Tile(NamedTuple):
    """An encoded tile, with the picture that it is a part of."""

    picture: Picture
    scene: Scene

    @property
    def nbytes(self) -> int:
        return self.scene.latent.nbytes


def kept_tiles(limit: float) -> Recent[Tile]:
    """Make a memory for encoded tiles, for a number of bytes."""
    return Recent(limit, lambda tile: tile.nbytes)


class TileKeeper(Renderer):
    """A renderer that keeps the tiles that it encodes.

    All pictures are divided in the same way, whichever part is rendered, so pixels do not depend on
    the part that they are rendered with. A model that must see the whole image has one tile.
    Several threads may render at once.

    Args:
        tiles: The memory for tiles, which several renderers may share.
        name: Name of the model in this memory.
    """

    def __init__(
        self, model: Any, data_norm: DataNorm | None, tiles: Recent[Tile], name: Hashable
    ) -> None:
        super().__init__(model, data_norm)
        self.tiles, self.name = tiles, name

    def spans(self, picture: Picture, rows: Span, cols: Span) -> Iterator[tuple[Span, Span]]:
        """Yield the rows and columns of the tiles that a part of a picture lies in."""
        height, width = picture.size
        parts = self.knows_parts and self.reach is not None
        down, across = (SIDE, SIDE) if parts else (height, width)
        for top in range(rows[0] - rows[0] % down, rows[1], down):
            for left in range(cols[0] - cols[0] % across, cols[1], across):
                yield (
                    (top, min(top + down, height)),
                    (left, min(left + across, width)),
                )

    def keep(self, picture: Picture, rows: Span, cols: Span) -> Scene:
        """Return a tile of a picture, encoded now or before."""

        def made() -> Tile:
            one = tuple(Axis.over(size, size) for size in picture.size)
            return Tile(picture, self._encode(picture, rows, cols, self._margins(*one)))

        # The tile holds on to the picture, so no other one has the same id.
        return self.tiles.get((id(picture), self.name, rows, cols), made).scene

    def _choose_tile(self, count: int, height: int, width: int) -> int:
        return SIDE

    def _bands(
        self, picture: Picture, rows: Axis, cols: Axis, tile: int, kept: list[Scene]
    ) -> Iterator[Band]:
        parts: dict[Span, list[Span]] = {}
        for down, across in self.spans(picture, rows.span(), cols.span()):
            parts.setdefault(down, []).append(across)
        for down, columns in parts.items():
            scenes = [self.keep(picture, down, across) for across in columns]
            yield Band(
                rows[rows.within(*down)],
                [(scene, cols.within(*at)) for scene, at in zip(scenes, columns, strict=True)],
            )
