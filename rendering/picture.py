"""Convert between the pixels of pictures of any kind and the planes that a model computes with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rendering.levels import UNIT, Levels, find_levels
from rendering.metadata.parts import Metadata

WHITES = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}
# With alpha below half a level of 8 bits, what is left of a colour is only rounding error.
TRANSPARENT = 0.5 / 255


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
    """

    pixels: np.ndarray
    icc: bytes | None = None
    notes: tuple[str, ...] = ()
    cicp: bytes | None = None
    metadata: Metadata | None = None
    quantisation: tuple[int, ...] | None = None

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
