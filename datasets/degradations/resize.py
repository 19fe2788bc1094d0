"""Degradations that change the size, or remove the colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from configs.spec import SpecsOf
from datasets.degradations import degraded, make_all, register, registry
from datasets.degradations.base import Degradation, Probability, Range, drawn, like, luma, within
from datasets.image_file import to_image

Kernel = Literal["bicubic", "bilinear", "box", "lanczos", "nearest"]
Kernels = Annotated[Sequence[Kernel], Field(min_length=1)]


@register("resize")
class Resize(Degradation):
    """A change of size with a filter of Pillow.

    Args:
        factor: Factor of the size, which is rounded, to at least 1 pixel.
        kernels: Filters, one of which is drawn.
        inside: Degradations at the new size, after which the former size is restored by one of the
            kernels; ``[]`` only restores it. None keeps the new size.
        p: Probability that it is applied.
    """

    def __init__(
        self,
        factor: Annotated[Range, within(0.01, 16)],
        kernels: Kernels = ("bicubic",),
        inside: Annotated[list[Any] | None, SpecsOf(registry)] = None,
        p: Probability = 1,
    ) -> None:
        super().__init__(p)
        self.factor = factor
        self.kernels = kernels
        self.inside = None if inside is None else make_all(inside)

    def apply(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        factor = drawn(self.factor, rng)
        height, width = pixels.shape[:2]
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        smaller = resized(pixels, size, one_of(self.kernels, rng))
        if self.inside is None:
            return smaller
        smaller = degraded(smaller, self.inside, rng)
        return resized(smaller, (height, width), one_of(self.kernels, rng))


@register("gray")
class Gray(Degradation):
    """A removal of colours: all channels become the luma (ITU-R 601-2)."""

    def __init__(self, p: Probability = 1) -> None:
        super().__init__(p)

    def apply(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.repeat(like(luma(pixels), pixels), pixels.shape[2], axis=2)


def one_of(kernels: Sequence[Kernel], rng: np.random.Generator) -> Kernel:
    """Draw one kernel of a list."""
    return kernels[int(rng.integers(len(kernels)))]


def resized(pixels: np.ndarray, size: tuple[int, int], kernel: Kernel) -> np.ndarray:
    """Resize pixels (H, W, C) with a filter of Pillow, which uses all pixels that it covers.

    Floats go no further beyond [0, 1] than they did before.
    """
    if size == pixels.shape[:2]:
        return pixels
    method = Image.Resampling[kernel.upper()]
    if pixels.dtype == np.uint8:
        smaller = to_image(pixels).resize(size[::-1], method)
        return np.array(smaller).reshape(*size, pixels.shape[2])
    planes = [np.ascontiguousarray(pixels[:, :, c]) for c in range(pixels.shape[2])]
    images = [np.array(Image.fromarray(plane).resize(size[::-1], method)) for plane in planes]
    return np.stack(images, axis=2).clip(min(0, pixels.min()), max(1, pixels.max()))
