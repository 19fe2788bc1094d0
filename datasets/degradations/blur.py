"""Blur: Gaussian kernels and their relatives, and the sinc filter.

The kernels are those of Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with
Pure Synthetic Data", ICCVW 2021, section 3.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch

from datasets.degradations import register
from datasets.degradations.base import (
    Degradation,
    Probability,
    Range,
    drawn,
    drawn_whole,
    like,
    within,
)
from datasets.degradations.filters import filtered, filtered_separably

Shape = Literal["gaussian", "generalized", "plateau"]
Sigma = Annotated[Range, within(0.05, 100)]
Side = Annotated[Range, within(1, 201, odd=True)]


@register("blur")
class Blur(Degradation):
    """A blur, the same in all directions or not.

    A kernel is exp(-q / 2) (gaussian), exp(-q^beta / 2) (generalized) or 1 / (1 + q^beta)
    (plateau), divided by its sum. Here q = x^T S^-1 x, x is the position relative to the centre,
    and S is the rotated covariance with the two standard deviations.

    Args:
        sigma: Standard deviation in pixels.
        anisotropic: Probability that the second axis has its own standard deviation, and that the
            axes are rotated.
        sigma_2: Standard deviation of the second axis in that case; None to draw it like ``sigma``.
        rotation: Rotation of the axes in that case, in degrees.
        shape: Shape of the kernel.
        beta: Exponent of a generalized Gaussian or a plateau.
        size: Side of the kernel, an odd number; None for 2 * ceil(3 * sigma) + 1, with the larger
            sigma.
        p: Probability that it is applied.
    """

    def __init__(
        self,
        sigma: Sigma,
        anisotropic: Probability = 0,
        sigma_2: Sigma | None = None,
        rotation: Annotated[Range, within(-360, 360)] = (0, 180),
        shape: Shape = "gaussian",
        beta: Annotated[Range, within(0.05, 20)] = 1,
        size: Side | None = None,
        p: Probability = 1,
    ) -> None:
        super().__init__(p)
        self.sigma = sigma
        self.anisotropic = anisotropic
        self.sigma_2 = sigma if sigma_2 is None else sigma_2
        self.rotation = rotation
        self.shape: Shape = shape
        self.beta = beta
        self.size = size

    def apply(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        is_turned = rng.random() < self.anisotropic
        sigmas = [drawn(self.sigma, rng), drawn(self.sigma_2, rng)]
        angle, beta = drawn(self.rotation, rng), drawn(self.beta, rng)
        if not is_turned:
            sigmas[1], angle = sigmas[0], 0
        if self.size is None:
            side = 2 * math.ceil(3 * max(sigmas)) + 1
        else:
            side = drawn_whole(self.size, rng, step=2)
        if self.shape == "gaussian" and angle == 0:
            cols, rows = (gaussian(side, sigma) for sigma in sigmas)
            return like(filtered_separably(pixels, rows, cols), pixels)
        kernel = blur_kernel(side, sigmas[0], sigmas[1], angle, self.shape, beta)
        return like(filtered(pixels, kernel), pixels)


@register("sinc")
class Sinc(Degradation):
    """An ideal low-pass filter cut off to a square; it rings like sharpening and compression.

    Args:
        cutoff: Cut-off frequency, as a fraction of the highest that pixels can have.
        size: Side of the kernel, an odd number.
        p: Probability that it is applied.
    """

    def __init__(
        self,
        cutoff: Annotated[Range, within(0.05, 1)] = (0.33, 1),
        size: Side = (7, 21),
        p: Probability = 1,
    ) -> None:
        super().__init__(p)
        self.cutoff = cutoff
        self.size = size

    def apply(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        cutoff = drawn(self.cutoff, rng)
        kernel = sinc_kernel(drawn_whole(self.size, rng, step=2), cutoff * math.pi)
        return like(filtered(pixels, kernel), pixels)


def gaussian(side: int, sigma: float) -> np.ndarray:
    """Compute a Gaussian (side,) whose sum is 1."""
    x = np.arange(side) - side // 2
    weights = np.exp(-0.5 * (x / sigma) ** 2)
    return weights / weights.sum()


def blur_kernel(
    side: int, sigma: float, sigma_2: float, degrees: float, shape: Shape, beta: float
) -> np.ndarray:
    """Compute the kernel (side, side) of a `Blur`, rotated from the column axis to the row axis."""
    x = np.arange(side) - side // 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    along, across = cos * x + sin * x[:, None], cos * x[:, None] - sin * x
    q = (along / sigma) ** 2 + (across / sigma_2) ** 2
    if shape == "gaussian":
        weights = np.exp(-0.5 * q)
    elif shape == "generalized":
        weights = np.exp(-0.5 * q**beta)
    else:
        weights = 1 / (1 + q**beta)
    return weights / weights.sum()


def sinc_kernel(side: int, cutoff: float) -> np.ndarray:
    """Compute w / (2 pi r) J_1(w r) at distance r from the centre, scaled to sum 1; w is cutoff."""
    x = np.arange(side) - side // 2
    r = np.hypot(x, x[:, None])
    r[side // 2, side // 2] = 1  # divided by below; J_1(w r) / r is w / 2 there
    weights = torch.special.bessel_j1(torch.from_numpy(cutoff * r)).numpy() / r
    weights[side // 2, side // 2] = cutoff / 2
    return weights / weights.sum()
