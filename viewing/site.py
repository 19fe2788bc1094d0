"""What all answers of the server share: the photographs, the models, and the work in progress."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np

from errors import UserError
from rendering.picture import Picture
from viewing.blocks import Block, Studio, blocks_of, check_work
from viewing.gallery import Photograph
from viewing.lattice import Part
from viewing.offer import Choice
from viewing.work import Workers

RECEIVING = 2  # photographs at a time
PAUSE = 0.05  # seconds until the next look whether a thread is free


class Site:
    """The state of a server.

    Args:
        choice: The model to begin with, and that of IIIF.
        factor: How many times the sides of photographs are enlarged for IIIF.
    """

    def __init__(
        self, studio: Studio, workers: Workers, choice: Choice, factor: float = 30.0
    ) -> None:
        self.studio, self.workers, self.choice, self.factor = studio, workers, choice, factor
        self.instance = secrets.token_hex(8)  # pages that were shown by another one begin anew
        self.receiving = asyncio.Semaphore(RECEIVING)
        self._ahead: asyncio.Task[None] | None = None
        self._ahead_of: tuple[str, Choice] | None = None

    async def picture(self, photograph: Photograph) -> Picture:
        """Return the pixels of a photograph.

        Raises:
            UserError: If it cannot be read.
        """
        return await asyncio.to_thread(self.studio.gallery.picture, photograph)

    async def compose(self, photograph: Photograph, choice: Choice, part: Part) -> np.ndarray:
        """Render a part of a photograph, in blocks: (H, W, C), uint8.

        Raises:
            UserError: If the photograph cannot be read, or the model not loaded.
        """
        check_work(part.shape, part.seen)
        turns = asyncio.Semaphore(self.workers.count)

        async def render(block: Block) -> np.ndarray:
            async with turns:  # so that the blocks of other requests come in between
                return await self.workers.run(
                    lambda: self.studio.block(photograph, choice, part.grid, block)
                )

        blocks = list(blocks_of(part))
        tasks = [asyncio.ensure_future(render(block)) for block in blocks]
        try:
            rendered = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # where one has failed, nobody wants the others
                task.cancel()
        whole = np.empty((*part.shape, rendered[0].shape[2]), np.uint8)
        for block, pixels in zip(blocks, rendered, strict=True):
            whole[block.target] = pixels[block.within]
        return whole

    def encode_ahead(self, photograph: Photograph, choice: Choice) -> None:
        """Encode a photograph while nothing is asked for, so that zooming into it is quick."""
        if self._ahead_of == (photograph.id, choice):
            return
        if self._ahead is not None:
            self._ahead.cancel()
        self._ahead_of = photograph.id, choice
        self._ahead = asyncio.ensure_future(self._encode(photograph, choice))

    async def _encode(self, photograph: Photograph, choice: Choice) -> None:
        with suppress(UserError):  # requests for the photograph say it
            tiles = await self.workers.run(lambda: self.studio.encoding(photograph, choice))
            waiting = iter(tiles)
            await asyncio.gather(*(self._when_idle(waiting) for _ in range(self.workers.count)))

    async def _when_idle(self, tiles: Iterator[Callable[[], object]]) -> None:
        for tile in tiles:
            while self.workers.running >= self.workers.count:
                await asyncio.sleep(PAUSE)
            await self.workers.run(tile)
