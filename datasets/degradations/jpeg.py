"""The artefacts of JPEG."""

from __future__ import annotations

import io
from typing import Annotated, Literal

import numpy as np

from datasets.degradations import register
from datasets.degradations.base import (
    Degradation,
    Probability,
    Range,
    as_bytes,
    drawn_whole,
    within,
)
from datasets.image_file import to_image
from datasets.opening import load, open_image
from errors import UserError

BLOCK = 16  # pixels per side of a block of chroma at half the resolution
LARGEST = 65500  # pixels per side


@register("jpeg")
class Jpeg(Degradation):
    """JPEG compression: pixels are saved by Pillow and read again; the result has 8 bits.

    Args:
        quality: JPEG quality of Pillow, 1 to 100.
        subsampling: 444 for colours of full resolution, 420 for half of it, as most cameras and
            programs save, or "either" for one of the two, each with probability 1/2.
        grid_offset: Let the blocks begin at a random place rather than at the first pixel, as in a
            picture that was cropped afterwards.
        p: Probability that it is applied.
    """

    def __init__(
        self,
        quality: Annotated[Range, within(1, 100, whole=True)],
        subsampling: Literal[444, 420, "either"] = 420,
        grid_offset: bool = False,
        p: Probability = 1,
    ) -> None:
        super().__init__(p)
        self.quality = quality
        self.subsampling = subsampling
        self.grid_offset = grid_offset

    def apply(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        quality = drawn_whole(self.quality, rng)
        is_full = rng.random() < {444: 1, 420: 0, "either": 0.5}[self.subsampling]
        pixels = as_bytes(pixels)
        if not self.grid_offset:
            return compressed(pixels, quality, is_full)
        top, left = map(int, rng.integers(BLOCK, size=2))
        height, width = pixels.shape[:2]
        around = ((top, -(top + height) % BLOCK), (left, -(left + width) % BLOCK), (0, 0))
        larger = compressed(np.pad(pixels, around, "symmetric"), quality, is_full)
        return larger[top : top + height, left : left + width]


def compressed(pixels: np.ndarray, quality: int, is_full: bool) -> np.ndarray:
    """Compress pixels uint8 (H, W, 1 or 3) as JPEG; ``is_full`` means no colour subsampling.

    Raises:
        UserError: If the picture is too large for JPEG.
    """
    height, width = pixels.shape[:2]
    if max(height, width) > LARGEST:
        raise UserError(
            f"{height}x{width} pixels are too many for JPEG, which has at most {LARGEST} a side"
        )
    image = to_image(pixels)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0 if is_full else 2)
    file.seek(0)
    with open_image(file, ("JPEG",)) as saved:
        load(saved)
        return np.array(saved).reshape(pixels.shape)
