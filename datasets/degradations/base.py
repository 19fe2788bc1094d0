"""Code shared by degradations: how they are called, ranges of arguments, kinds of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import pydantic
from pydantic import Field

Probability = Annotated[float, Field(ge=0, le=1)]
Range = float | Sequence[float]  # a number, or [low, high]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601-2


class Degradation:
    """A change to pixels, called as ``degradation(pixels, rng)``.

    Pixels are (H, W, C) of one or three channels: uint8, or float32 where 1 is white. Results of
    uint8 are rounded to uint8 again, within 0 and 255, and floats stay within [0, 1], unless a
    class says otherwise. The input is never modified.

    Args:
        p: Probability that it is applied at all.
    """

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.apply(pixels, rng) if rng.random() < self.p else pixels

    def apply(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the degraded pixels; all random numbers are drawn from ``rng``."""
        raise NotImplementedError


def within(
    least: float, most: float = math.inf, whole: bool = False, odd: bool = False
) -> pydantic.PlainValidator:
    """Make the validator of a `Range`.

    Args:
        least, most: Limits of the numbers, inclusive.
        whole, odd: Allow only whole, or only odd, numbers.
    """
    kind = "an odd number" if odd else "a whole number" if whole else "a number"
    limits = f"from {least:g} to {most:g}" if most < math.inf else f"of {least:g} or more"

    def fits(end: Any) -> bool:
        if isinstance(end, bool) or not isinstance(end, (int, float)) or not least <= end <= most:
            return False
        return math.isfinite(end) and not (whole and end % 1) and not (odd and end % 2 != 1)

    def check(value: Any) -> Any:
        ends = value if isinstance(value, list) else [value, value]
        if len(ends) != 2 or not all(map(fits, ends)):
            raise ValueError(f"expected {kind} {limits}, or a range [low, high] of such")
        if ends[0] > ends[1]:
            raise ValueError("a range begins with its lower end")
        return value

    return pydantic.PlainValidator(check)


def drawn(values: Range, rng: np.random.Generator, power: float = 1) -> float:
    """Draw a uniform number from a range; ``power`` above 1 makes small ones more frequent."""
    low, high = values if isinstance(values, Sequence) else (values, values)
    return low + (high - low) * rng.random() ** power


def drawn_whole(values: Range, rng: np.random.Generator, step: int = 1) -> int:
    """Draw one of the whole numbers low, low + step, .. from a range."""
    low, high = map(int, values if isinstance(values, Sequence) else (values, values))
    return low + step * int(rng.integers((high - low) // step + 1))


def white(pixels: np.ndarray) -> float:
    """Return the level of white."""
    return 255 if pixels.dtype == np.uint8 else 1


def as_floats(pixels: np.ndarray) -> np.ndarray:
    """Convert pixels to float32 where 1 is white."""
    return pixels if pixels.dtype == np.float32 else pixels.astype(np.float32) / np.float32(255)


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Convert pixels to uint8, rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def like(levels: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Convert levels to the kind of ``pixels``, clipped at black and white (255 or 1)."""
    if pixels.dtype == np.uint8:
        return np.rint(levels).clip(0, 255).astype(np.uint8)
    return levels.astype(np.float32, copy=False).clip(0, 1)


def luma(pixels: np.ndarray) -> np.ndarray:
    """Compute the luma (H, W, 1), as float32 with the same level of white."""
    if pixels.shape[2] == 1:
        return pixels.astype(np.float32)
    return (pixels * LUMA).sum(axis=2, keepdims=True)
