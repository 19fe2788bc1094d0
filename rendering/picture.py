"""Pictures of any kind between a file's pixels and what a model computes with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rendering.grid import Axis
from utils import nearest_index

LARGEST = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}
# Below half a level of 8 bits, what is left of a colour under its alpha is only rounding.
TRANSPARENT = 0.5 / 255
ROWS = 256  # of a picture, looked at together
PIXELS = 2**20  # of a picture, looked at together for a part of the output
FARTHER = 3  # pixels that colours are looked for, where none is seen next to a place


@dataclass(frozen=True)
class Picture:
    """Pixels, and what they mean.

    Attributes:
        pixels: (h, w, C); C = 1: gray, 2: gray and alpha, 3: RGB, 4: RGB and alpha; uint8, uint16,
            or float32, where 1 is white.
        icc: The colour profile of the file.
        notes: What a user should know of how it was read.
        cicp: Chunks of a PNG on its colours; see `rendering.colour`.
    """

    pixels: np.ndarray
    icc: bytes | None = None
    notes: tuple[str, ...] = ()
    cicp: bytes | None = None

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
        return LARGEST[self.pixels.dtype]

    @cached_property
    def _visible(self) -> tuple[Tensor, Tensor]:
        """The least and the largest of each colour where it is seen, (C, 1, 1); white is 1."""
        low, high = np.full(self.channels - 1, np.inf), np.full(self.channels - 1, -np.inf)
        for part in np.array_split(self.pixels, max(1, len(self.pixels) // ROWS)):
            seen = part[part[..., -1] > TRANSPARENT * self.white][:, :-1]
            if len(seen):
                low, high = np.minimum(low, seen.min(0)), np.maximum(high, seen.max(0))
        if low[0] > high[0]:  # nothing is seen
            low, high = np.zeros_like(low), np.full_like(high, self.white)
        ends = torch.from_numpy(np.stack([low, high]) / self.white).float()[..., None, None]
        return ends[0], ends[1]

    def count(self, channels: int = 3) -> int:
        """How many `planes` there are."""
        return (1 if self.channels < 3 else 3 // channels) + (not self.opaque)

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

    def consistent(self, band: Tensor, rows: Axis, cols: Axis) -> Tensor:
        """Rendered planes whose colours fit their alpha, as those of the input do.

        Colours and alpha are rendered apart. Where there is little alpha, a small difference
        between them is a large one of the colour: a dark or bright fringe. So where the input is
        not opaque all around, a colour stays between those that are seen there.

        Args:
            band: (K, C, r, W), rendered `planes`.
            rows, cols: Of the band.

        Returns:
            The same, changed in place.
        """
        if self.opaque:
            return band
        read = len(cols) * (cols.cell * cols.size / 2) * (rows.cell * rows.size / 2)
        step = max(1, int(PIXELS / read))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            self._fit_colours(band[:, :, part], rows[part], cols)
        return band

    def _fit_colours(self, band: Tensor, rows: Axis, cols: Axis) -> None:
        """See `consistent`; in place."""
        reach = [max(1, math.ceil(axis.cell * axis.size)) for axis in (rows, cols)]
        nearest = [nearest_index(axis.centres, axis.size) for axis in (rows, cols)]
        first, last = [], []
        for index, far in zip(nearest, reach, strict=True):
            first.append(max(0, int(index[0]) - far - FARTHER))
            last.append(int(index[-1]) + far + FARTHER + 1)
        part = self.pixels[first[0] : last[0], first[1] : last[1]].astype(np.float32)
        pixels = torch.from_numpy(part / np.float32(self.white)).permute(2, 0, 1)
        seen = pixels[-1] > TRANSPARENT
        # The largest, and negated the least; below all numbers where nothing is seen.
        ends = torch.cat([pixels[:-1], -pixels[:-1]]).masked_fill(~seen, -torch.inf)
        ends = _largest_around(ends, reach)
        for _ in range(FARTHER):
            ends = torch.where(ends > -torch.inf, ends, _largest_around(ends, [1, 1]))
        free = (_largest_around(-pixels[-1:], reach) <= -1) | (ends[:1] == -torch.inf)
        at = nearest[0][:, None] - first[0], nearest[1] - first[1]
        high, low = ends[:, *at].nan_to_num().chunk(2)
        alpha, colour = band[-1].mean(0).clamp(0, 1), band[:-1].flatten(0, 1)
        fitting = torch.where(free[:, *at], colour, colour.clamp(-low * alpha, high * alpha))
        band[:-1] = fitting.view_as(band[:-1])

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
        if alpha is not None:  # rendered apart, they fit each other but roughly
            low, high = self._visible
            colour = colour.clamp(low * alpha, high * alpha)
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
            colour = (colour.clamp(0, 1) * LARGEST[np.dtype(dtype)]).round()
        return np.ascontiguousarray(colour.permute(1, 2, 0).numpy().astype(dtype))


def _largest_around(plane: Tensor, reach: list[int]) -> Tensor:
    """The maximum of (C, h, w) over so many rows and columns to each side."""
    down, across = reach
    plane = F.max_pool2d(plane, (2 * down + 1, 1), stride=1, padding=(down, 0))
    return F.max_pool2d(plane, (1, 2 * across + 1), stride=1, padding=(0, across))
