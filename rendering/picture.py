"""Convert between the pixels of pictures of any kind and the planes that a model computes with."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rendering.metadata.parts import Metadata

WHITES = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}
# With alpha below half a level of 8 bits, what is left of a colour is only rounding error.
TRANSPARENT = 0.5 / 255

# Of the range of floating-point pixels, which may be any:
RARE = 1000  # one in this many pixels may lie beyond the range, at either end
LEAST_SPAN = 0.5  # span from which on pixels in [0, 1] are taken as they are
FEW = 64  # fewer pixels than this say little about a range
MOST = 2**22  # largest number of pixels that are examined


class Levels(NamedTuple):
    """The levels of floating-point pixels that become 0 and 1, the range that a network knows."""

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


@dataclass(frozen=True)
class Picture:
    """The pixels of a picture, with their colour space and metadata.

    Attributes:
        pixels: Pixels (h, w, C); C = 1: gray, 2: gray and alpha, 3: RGB, 4: RGB and alpha; uint8,
            uint16, or float32, where 1 is white.
        icc: Colour profile of the file.
        notes: Messages for the user about how it was read.
        cicp: PNG chunks that describe the colours; see `rendering.colour`.
        metadata: Metadata of the file.
        quantisation: Luma quantisation table of a JPEG, 64 numbers, row by row.
        token: What stands for the pixels where something is remembered of them: pictures with equal
            tokens have equal pixels.
    """

    pixels: np.ndarray
    icc: bytes | None = None
    notes: tuple[str, ...] = ()
    cicp: bytes | None = None
    metadata: Metadata | None = None
    quantisation: tuple[int, ...] | None = None
    token: Hashable = field(default_factory=object, compare=False)

    @property
    def size(self) -> tuple[int, int]:
        """The height and width (h, w)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def channels(self) -> int:
        return self.pixels.shape[2]

    @property
    def has_alpha(self) -> bool:
        return self.channels in (2, 4)

    @cached_property
    def opaque(self) -> bool:
        """Whether there is no alpha, or it is full everywhere."""
        return not self.has_alpha or bool((self.pixels[..., -1] >= self.white).all())

    @property
    def white(self) -> float:
        return WHITES[self.pixels.dtype]

    @cached_property
    def levels(self) -> Levels:
        """The levels of `planes` that become 0 and 1 for a model."""
        if self.pixels.dtype != np.float32:
            return UNIT
        colours = self.pixels[..., : 1 if self.channels < 3 else 3].reshape(
            self.pixels[..., 0].size, -1
        )
        return find_levels(colours if self.opaque else colours[self.pixels[..., -1].ravel() > 0])

    def count(self, channels: int = 3) -> int:
        """Count the `planes`."""
        return self.colours(channels) + (not self.opaque)

    def colours(self, channels: int = 3) -> int:
        """Count the `planes` that are colours."""
        return 1 if self.channels < 3 else 3 // channels

    def planes(
        self, rows: slice = slice(None), cols: slice = slice(None), channels: int = 3
    ) -> Tensor:
        """Convert a part to the planes that are rendered: (K, channels, r, c), float32, white is 1.

        First come the colours, multiplied by the alpha so that the colour under transparent pixels
        does not bleed into its surroundings. They are one plane, or one plane each for a model with
        one channel. The last plane is the alpha, unless the picture is opaque. Gray and alpha are
        repeated for all three channels.

        Args:
            channels: Number of channels that the model takes, 1 or 3.
        """
        part = torch.from_numpy(self.pixels[rows, cols].astype(np.float32) / np.float32(self.white))
        colour, alpha = part[..., : 1 if self.channels < 3 else 3], part[..., -1:]
        planes = [colour] if self.opaque else [colour * alpha, alpha]
        planes = [part for plane in planes for part in plane.split(channels, dim=-1)]
        return torch.stack([plane.expand(-1, -1, channels).permute(2, 0, 1) for plane in planes])

    def rows(self, band: Tensor, channels: int, dtype: np.dtype) -> np.ndarray:
        """Convert rendered planes of this picture to pixels of an output.

        Args:
            band: Rendered `planes` (K, C, r, W).
            channels: Number of channels of the output; if it has no alpha but the picture does, the
                picture is put on white.
            dtype: Data type of the output; integers are rounded and clamped.

        Returns:
            (r, W, channels).
        """
        colour = (band if self.opaque else band[:-1]).flatten(0, 1)
        alpha = None if self.opaque else band[-1].mean(0).clamp(0, 1)
        if channels in (2, 4) and alpha is not None:
            colour = torch.where(alpha > TRANSPARENT, colour / alpha.clamp(min=TRANSPARENT), 0)
        elif alpha is not None:
            colour = colour + (1 - alpha)
        if self.channels < 3:
            colour = colour.mean(0, keepdim=True).expand(1 if channels < 3 else 3, -1, -1)
        elif channels < 3:
            raise AssertionError("colours are never made gray")
        if channels in (2, 4):
            opacity = torch.ones_like(colour[0]) if alpha is None else alpha
            colour = torch.cat([colour, opacity.unsqueeze(0)])
        if dtype != np.float32:
            colour = (colour.clamp(0, 1) * WHITES[np.dtype(dtype)]).round()
        return np.ascontiguousarray(colour.permute(1, 2, 0).numpy().astype(dtype))
