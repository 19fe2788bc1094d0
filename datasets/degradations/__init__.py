"""What happens to photographs before they are seen, by name: blur, noise, JPEG and the like.

A new file in this folder needs one line at the end of this one; see CONTRIBUTING.md.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from configs.spec import Registry

registry = Registry("degradation")
register = registry.register
make = registry.make


def make_all(specs: Iterable[Mapping[str, Any]] | None) -> list[Any]:
    """The degradations of a list of specs; None is none."""
    return [make(spec) for spec in specs or ()]


def degraded(
    pixels: np.ndarray, degradations: Iterable[Any], rng: np.random.Generator
) -> np.ndarray:
    """Pixels (H, W, C) after one degradation and the next."""
    for degradation in degradations:
        pixels = degradation(pixels, rng)
    return pixels


from . import blur, jpeg, noise, one_of, resize  # noqa: E402, F401
