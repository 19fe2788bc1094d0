"""Pictures of any kind between a file's pixels and what a model computes with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rendering.levels import UNIT, Levels, find_levels
from rendering.metadata.parts import Metadata

WHITES = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}
# Below half a level of 8 bits, what is left of a colour under its alpha is only rounding.
TRANSPARENT = 0.5 / 255


@dataclass(frozen=True)
class Picture:
    """Pixels, and what they mean.

    Attributes:
        pixels: (h, w, C); C = 1: gray, 2: gray and alpha, 3: RGB, 4: RGB and alpha; uint8, uint16,
            or float32, where 1 is white.
        icc: The colour profile of the file.
        notes: What a user should know of how it was read.
        cicp: Chunks of a PNG on its colours; see `rendering.colour`.
        metadata: What the file says beside its pixels.
        quantisation: Of a JPEG: the table of its luma, 64 numbers, row by row.
    """

    pixels: np.ndarray
    icc: bytes | None = None
    notes: tuple[str, ...] = ()
    cicp: bytes | None = None
    metadata: Metadata | None = None
    quantisation: tuple[int, ...] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def channels(self) -> int:
        return self.pixels.shape[2]

    @property
    def has_alpha(self) -> bool:
        return self.channels in (2, 4)

    @cached_property
    def opaque(self) -> bool:
        """Whether the alpha, if there is one, is nowhere less than full."""
        return not self.has_alpha or bool((self.pixels[..., -1] >= self.white).all())

    @property
    def white(self) -> float:
        return WHITES[self.pixels.dtype]

    @cached_property
    def levels(self) -> Levels:
        """The levels of `planes` that a model is given as 0 and 1."""
        if self.pixels.dtype != np.float32:
            return UNIT
        colours = self.pixels[..., : 1 if self.channels < 3 else 3].reshape(
            self.pixels[..., 0].size, -1
        )
        return find_levels(colours if self.opaque else colours[self.pixels[..., -1].ravel() > 0])

    def count(self, channels: int = 3) -> int:
        """How many `planes` there are."""
        return self.colours(channels) + (not self.opaque)

    def colours(self, channels: int = 3) -> int:
        """How many of the `planes` are colours."""
        return 1 if self.channels < 3 else 3 // channels

    def planes(
        self, rows: slice = slice(None), cols: slice = slice(None), channels: int = 3
    ) -> Tensor:
        """What is rendered of a part: (K, channels, r, c), float32, white is 1.

        First come the colours, multiplied by the alpha, so that the colour under transparent pixels
        does not bleed into its surroundings: in one plane, or for a model of one channel in a plane
        each. The last plane has the alpha where it says something. Gray and alpha are repeated for
        all three channels.

        Args:
            channels: That the model takes, 1 or 3.
        """
        part = torch.from_numpy(self.pixels[rows, cols].astype(np.float32) / np.float32(self.white))
        colour, alpha = part[..., : 1 if self.channels < 3 else 3], part[..., -1:]
        planes = [colour] if self.opaque else [colour * alpha, alpha]
        planes = [part for plane in planes for part in plane.split(channels, dim=-1)]
        return torch.stack([plane.expand(-1, -1, channels).permute(2, 0, 1) for plane in planes])

    def rows(self, band: Tensor, channels: int, dtype: np.dtype) -> np.ndarray:
        """Pixels of an output of this picture.

        Args:
            band: (K, C, r, W), rendered `planes`.
            channels: Of the output; without an alpha for this picture's, it is put on white.
            dtype: Of the output; integers are rounded and clamped.

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
