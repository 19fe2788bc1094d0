"""Degradations that photographs go through, by name: blur, noise, JPEG and the like.

A new file in this folder needs one line at the end of this file; see CONTRIBUTING.md.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from configs.spec import Registry

registry = Registry("degradation")
register = registry.register
make = registry.make


def make_all(specs: Iterable[Mapping[str, Any]] | None) -> list[Any]:
    """Make the degradations of a list of specs; None makes none."""
    return [make(spec) for spec in specs or ()]


def degraded(
    pixels: np.ndarray, degradations: Iterable[Any], rng: np.random.Generator
) -> np.ndarray:
    """Apply degradations to pixels (H, W, C), one after another."""
    for degradation in degradations:
        pixels = degradation(pixels, rng)
    return pixels


from . import blur, jpeg, noise, one_of, resize  # noqa: E402, F401
