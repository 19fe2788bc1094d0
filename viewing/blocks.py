"""Render photographs in blocks that are always the same, so that parts of one fit together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from errors import UserError
from models.checkpoint import load_model
from rendering.kept_tiles import TileKeeper, kept_tiles
from rendering.recent import Recent
from rendering.tile_size import free_memory
from viewing.gallery import Gallery, Photograph
from viewing.lattice import Grid, Lattice, Part
from viewing.offer import PLAIN, Choice, Offered

MAX_AREA = 2**24  # pixels of one answer
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


def check_work(counts: tuple[int, int], seen: tuple[float, float]) -> None:
    """Check how much there is to compute for an output, which may be more than its pixels.

    An axis that shrinks is computed for all pixels of the photograph before it is filtered.

    Args:
        counts: (H, W) of the output.
        seen: (h, w) of what is seen of the photograph.

    Raises:
        UserError: If it is too much.
    """
    enlarges = any(count >= pixels for count, pixels in zip(counts, seen, strict=True))
    if enlarges and math.prod(map(max, counts, seen)) > MAX_AREA:
        raise UserError(
            f"{counts[0]}x{counts[1]} pixels: too much to compute at once, at most {MAX_AREA}"
        )


class Studio:
    """Renders blocks of the photographs of a gallery. Several threads may use it at once.

    Args:
        models: What each model's name stands for.
        device: Device of the models.
        memory: Bytes for encoded tiles; None: a part of what is free now.
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
        self.tiles = kept_tiles(memory or free_memory(self.device))
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

        picture = self.gallery.picture(photograph)

        def rendered() -> np.ndarray:
            axes = grid.rows.axis(block.rows), grid.cols.axis(block.cols)
            bands = self.renderer(choice).render(picture, *axes)
            return np.concatenate([picture.rows(band, picture.channels, UINT8) for band in bands])

        key = (picture.token, choice, grid, block.rows, block.cols)
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
