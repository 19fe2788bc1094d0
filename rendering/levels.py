"""Map floating-point pixels, whose range may be any, to the [0, 1] that a network knows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

RARE = 1000  # one in this many pixels may lie beyond the range, at either end
LEAST_SPAN = 0.5  # span from which on pixels in [0, 1] are taken as they are
FEW = 64  # fewer pixels than this say little about a range
MOST = 2**22  # largest number of pixels that are examined


class Levels(NamedTuple):
    """The levels that become 0 and 1 for a model."""

    low: float
    high: float

    @property
    def span(self) -> float:
        return self.high - self.low

    def as_unit(self, planes: Tensor, colours: int) -> Tensor:
        """Scale planes so that these levels become 0 and 1.

        Args:
            planes: Planes (K, C, h, w).
            colours: Number of planes that are colours; if there is another after them, it is the
                alpha, which the colours are multiplied by.
        """
        if self == UNIT:
            return planes
        colour, alpha = planes[:colours], planes[colours:]
        return torch.cat([(colour - self._low_under(alpha)) / self.span, alpha])

    def from_unit(self, planes: Tensor, colours: int) -> Tensor:
        """Undo `as_unit`."""
        if self == UNIT:
            return planes
        colour, alpha = planes[:colours], planes[colours:]
        return torch.cat([colour * self.span + self._low_under(alpha), alpha])

    def _low_under(self, alpha: Tensor) -> Tensor | float:
        """Get the lowest level, multiplied by the alpha if there is one."""
        return self.low * alpha if len(alpha) else self.low


UNIT = Levels(0.0, 1.0)


def find_levels(colours: np.ndarray) -> Levels:
    """Find the range of floating-point colours (N, C), ignoring rare extremes.

    Colours in [0, 1] are taken as they are if they span half of it, or if there are few of them.
    Otherwise one pixel in a thousand, but at least one, is ignored at either end, so that a single
    highlight or dead pixel does not decide. Scaling the colours by a factor above 0, or adding an
    offset, changes the range accordingly.
    """
    if len(colours) > MOST:
        colours = colours[:: -(-len(colours) // MOST)]
    if not len(colours):
        return UNIT
    least, most = colours.min(1), colours.max(1)
    rare = min(math.ceil(len(least) / RARE), (len(least) - 1) // 2)
    low, high = (float(np.partition(x, k)[k]) for x, k in ((least, rare), (most, -1 - rare)))
    if high <= low:  # all one level, except for rare pixels
        low, high = float(least.min()), float(most.max())
    inside = least.min() >= 0 and most.max() <= 1
    if inside and (high - low >= LEAST_SPAN or high <= low or len(least) < FEW):
        return UNIT
    # If there is one level only, add 1, or the least that floats of its size can tell apart well.
    return Levels(low, high if high > low else low + max(1.0, abs(low) * 2.0**-20))
