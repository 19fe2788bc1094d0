"""Render photographs in blocks that are always the same, so that parts of one fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import psutil
import torch

from errors import UserError
from models.checkpoint import load_model
from rendering.kept_tiles import TileKeeper, kept_tiles
from rendering.recent import Recent
from viewing.gallery import Gallery, Photograph
from viewing.lattice import Grid, Lattice, Part
from viewing.offer import PLAIN, Choice, Offered

BLOCK_BYTES = 256 * 2**20  # of blocks that are kept
MODELS = 6  # that are kept
UINT8 = np.dtype(np.uint8)


class Block(NamedTuple):
    """One of the blocks that a part of a picture is composed of.

    Attributes:
        rows, cols: All output pixels of the block.
        within: Which of them are in the part.
        target: Where they are in the part.
    """

    rows: range
    cols: range
    within: tuple[slice, slice]
    target: tuple[slice, slice]


def blocks_of(part: Part) -> Iterator[Block]:
    """Yield the blocks that a part of a picture is composed of."""
    for rows, down in _along(part.grid.rows, part.rows):
        for cols, across in _along(part.grid.cols, part.cols):
            within, target = zip(down, across, strict=True)
            yield Block(rows, cols, within, target)


def _along(lattice: Lattice, pixels: range) -> Iterator[tuple[range, tuple[slice, slice]]]:
    for _, whole in lattice.blocks(pixels):
        first, stop = max(whole.start, pixels.start), min(whole.stop, pixels.stop)
        within, target = (
            slice(first - start, stop - start) for start in (whole.start, pixels.start)
        )
        yield whole, (within, target)


class Studio:
    """Renders blocks of the photographs of a gallery. Several threads may use it at once.

    Args:
        models: What each model's name stands for.
        device: Device of the models.
        memory: Bytes for encoded tiles; None: a quarter of what is free now.
    """

    def __init__(
        self,
        gallery: Gallery,
        models: Mapping[str, Offered],
        device: torch.device | None = None,
        memory: float | None = None,
    ) -> None:
        self.gallery, self.models = gallery, models
        self.device = device or torch.device("cpu")
        self.tiles = kept_tiles(memory or psutil.virtual_memory().available / 4)
        self.blocks: Recent[np.ndarray] = Recent(BLOCK_BYTES, lambda pixels: pixels.nbytes)
        self._renderers: Recent[TileKeeper] = Recent(MODELS, lambda _: 1)

    def renderer(self, choice: Choice) -> TileKeeper:
        """Return the renderer of a model.

        Raises:
            UserError: If it cannot be loaded, or is not for parts of pictures.
        """

        def loaded() -> TileKeeper:
            model, norm = load_model(self.models[choice.model].source, choice.strength)
            renderer = TileKeeper(model.float().to(self.device), norm, self.tiles, choice)
            if renderer.model.spans_queries or not renderer.model.keeps_latents:
                raise UserError(f"{choice.model}: this model cannot be viewed in parts")
            return renderer

        return self._renderers.get(choice, loaded)

    def shown(self, choice: Choice, grid: Grid) -> Choice:
        """Return what a grid is rendered with: no network below the photograph's own size."""
        return choice if grid.enlarges else Choice(PLAIN)

    def block(self, photograph: Photograph, choice: Choice, grid: Grid, block: Block) -> np.ndarray:
        """Render a block, or return it if it was rendered lately: (r, c, C), uint8.

        Raises:
            UserError: If the photograph cannot be read, or the model not loaded.
        """
        choice = self.shown(choice, grid)

        def rendered() -> np.ndarray:
            picture = self.gallery.picture(photograph)
            axes = grid.rows.axis(block.rows), grid.cols.axis(block.cols)
            bands = self.renderer(choice).render(picture, *axes)
            return np.concatenate([picture.rows(band, picture.channels, UINT8) for band in bands])

        key = (photograph.id, choice, grid, block.rows, block.cols)
        return self.blocks.get(key, rendered)

    def encoding(self, photograph: Photograph, choice: Choice) -> list[Callable[[], object]]:
        """Make a list of what there is to encode before any part can be shown at once.

        It is empty if that needs more than half the memory for tiles.
        """
        picture, renderer = self.gallery.picture(photograph), self.renderer(choice)
        pixels = picture.size[0] * picture.size[1] * picture.count(renderer.channels)
        if choice.model == PLAIN or pixels * renderer.memory.features > self.tiles.limit / 2:
            return []
        whole = ((0, picture.size[0]), (0, picture.size[1]))
        return [
            partial(renderer.keep, picture, rows, cols)
            for rows, cols in renderer.spans(picture, *whole)
        ]

    @property
    def bytes(self) -> float:
        """The bytes of all that is kept, but for the models."""
        return self.tiles.bytes + self.blocks.bytes + self.gallery.bytes
