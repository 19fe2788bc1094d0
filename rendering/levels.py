"""The range of floating-point pixels, which may be any: a network knows [0, 1] alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

RARE = 1000  # one of so many pixels may lie beyond the range, at either end
LEAST_SPAN = 0.5  # of pixels in [0, 1] that are taken as they are
FEW = 64  # pixels that say little of a range
MOST = 2**22  # pixels that are looked at


class Levels(NamedTuple):
    """The levels that become 0 and 1 for a model."""

    low: float
    high: float

    @property
    def span(self) -> float:
        return self.high - self.low

    def as_unit(self, planes: Tensor, colours: int) -> Tensor:
        """Planes with these levels as 0 and 1.

        Args:
            planes: (K, C, h, w).
            colours: How many of them are colours; the one after them is the alpha, with which they
                are multiplied.
        """
        if self == UNIT:
            return planes
        colour, alpha = planes[:colours], planes[colours:]
        return torch.cat([(colour - self._low_under(alpha)) / self.span, alpha])

    def from_unit(self, planes: Tensor, colours: int) -> Tensor:
        """The opposite of `as_unit`."""
        if self == UNIT:
            return planes
        colour, alpha = planes[:colours], planes[colours:]
        return torch.cat([colour * self.span + self._low_under(alpha), alpha])

    def _low_under(self, alpha: Tensor) -> Tensor | float:
        """What colours of the lowest level are, multiplied by the alpha if there is one."""
        return self.low * alpha if len(alpha) else self.low


UNIT = Levels(0.0, 1.0)


def find_levels(colours: np.ndarray) -> Levels:
    """The range of floating-point colours (N, C), except for some rare ones.

    Colours in [0, 1] are taken as they are if they use half of it, or there are few of them. Else
    the range is that of all pixels but one of a thousand at either end, and never less than one of
    them, so that a single highlight or a dead pixel does not decide. It follows every factor above
    0 and every offset.
    """
    if len(colours) > MOST:
        colours = colours[:: -(-len(colours) // MOST)]
    if not len(colours):
        return UNIT
    least, most = colours.min(1), colours.max(1)
    rare = min(math.ceil(len(least) / RARE), (len(least) - 1) // 2)
    low, high = (float(np.partition(x, k)[k]) for x, k in ((least, rare), (most, -1 - rare)))
    if high <= low:  # except for rare pixels it is all one level
        low, high = float(least.min()), float(most.max())
    inside = least.min() >= 0 and most.max() <= 1
    if inside and (high - low >= LEAST_SPAN or high <= low or len(least) < FEW):
        return UNIT
    # Of one level: 1 more, or as much as floats of its size tell from it.
    return Levels(low, high if high > low else low + max(1.0, abs(low) * 2.0**-20))
