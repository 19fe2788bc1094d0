"""Sensor noise: Gaussian noise, and shot noise of photons."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import PositiveFloat

from datasets.degradations import register
from datasets.degradations.base import (
    Degradation,
    Probability,
    Range,
    as_floats,
    drawn,
    like,
    luma,
    white,
    within,
)


@register("noise")
class Noise(Degradation):
    """Gaussian noise, independent of the pixels.

    Args:
        sigma: Standard deviation, in levels of 255.
        power: Exponent for a range of sigma: low + (high - low) * u^power is drawn with a uniform
            u, so above 1, small values are more frequent.
        gray: Probability that all channels get the same noise.
        clip: Clip at black and white, and round to 8 bits if the input had 8 bits; if false, the
            result is float32 and may go beyond [0, 1].
        p: Probability that it is applied.
    """

    def __init__(
        self,
        sigma: Annotated[Range, within(0, 255)],
        power: PositiveFloat = 1,
        gray: Probability = 0,
        clip: bool = True,
        p: Probability = 1,
    ) -> None:
        super().__init__(p)
        self.sigma = sigma
        self.power = power
        self.gray = gray
        self.clip = clip

    def apply(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sigma = drawn(self.sigma, rng, self.power)
        channels = 1 if rng.random() < self.gray else pixels.shape[2]
        noise = rng.standard_normal((*pixels.shape[:2], channels), np.float32)
        if not self.clip:
            return as_floats(pixels) + noise * np.float32(sigma / 255)
        return like(pixels + noise * np.float32(sigma / 255 * white(pixels)), pixels)


@register("poisson")
class Poisson(Degradation):
    """Shot noise: a pixel x of [0, 1] becomes x + scale * (Poisson(255 x) / 255 - x).

    Args:
        scale: Strength of the noise; 1 is that of 255 photons for white, whose standard deviation
            is 16 of 255 levels there and falls with the square root of the level.
        gray: Probability that all channels get the noise of their luma.
        p: Probability that it is applied.
    """

    def __init__(
        self,
        scale: Annotated[Range, within(0, 100)] = 1,
        gray: Probability = 0,
        p: Probability = 1,
    ) -> None:
        super().__init__(p)
        self.scale = scale
        self.gray = gray

    def apply(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        scale = drawn(self.scale, rng)
        is_gray = rng.random() < self.gray
        photons = 255 / white(pixels) * (luma(pixels) if is_gray else pixels.astype(np.float32))
        photons = photons.clip(0, None)
        noise = (rng.poisson(photons) - photons) * (scale * white(pixels) / 255)
        return like(pixels + noise, pixels)
