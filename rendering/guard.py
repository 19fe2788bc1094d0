"""Keep a network from ruining pictures that are finer than what it was trained with.

Photographs hardly ever alternate between black and white from pixel to pixel; dithers, halftones,
faxes and small QR codes consist of that. There a network may lose the local mean level, or give
colours far from those around. So where an input is that fine, the network is evaluated at a few
points of every pixel and compared with bicubic interpolation. The more its mean over some pixels
differs, or the farther off its colours are, the more the result is moved towards the interpolation.
Elsewhere nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from queries import Queries
from rendering.grid import Axis
from utils import sample_bicubic, sample_bilinear

MEAN = 4 / 255  # how far the mean over `AROUND` pixels may differ from bicubic interpolation's
FAR = 0.4  # how far a colour may differ from bicubic interpolation, with a few exceptions:
FEW, MANY = 0.1, 0.2  # share of the points around that may be exceptions; from `MANY` on, none may
AROUND = 7
# Mean second difference along both axes, over `FINE_AROUND` pixels. From `FINE` on, the network is
# doubted; from `FINEST` on, it is trusted only as far as its points show.
FINE, FINEST = 45 / 255, 65 / 255
FINE_AROUND = 7
REACH = 9  # pixels around one that its trust depends on
PROBED = 5  # pixels around one whose points its trust depends on
BESIDE = 1  # how many pixels outside its own pixel a point may lie
# Where a pixel is evaluated, in eighths of its sides: four points cover four rows and four columns.
# Each moves to the centre of the output pixel it lies in, so that what is shown is what counts.
POINTS = ((1, 3), (3, 7), (5, 1), (7, 5))
TRUSTED = 0.999  # from here on, only rounding is missing

Size = tuple[int, int]


class Guard:
    """The trust in a network at each pixel of an encoded picture or a part of it.

    Args:
        pixels: Encoded pixels (K, C, h, w) in [0, 1].
        size: (h, w) of the whole picture.
        origin: Row and column of the part's first pixel in the whole picture.
        margins: Rows and columns of the part that only serve the others; at least `REACH`.
        axes: Rows and columns of the output.
        colours: Function from coordinates (Q, 2) to the network's colours (K, Q, C) for output
            pixels of the output's size, in the range of ``pixels``.
    """

    def __init__(
        self,
        pixels: Tensor,
        size: Size,
        origin: Size,
        margins: Size,
        axes: tuple[Axis, Axis],
        colours: Callable[[Tensor], Tensor],
    ) -> None:
        self.pixels, self.size, self.origin, self.axes = pixels, size, origin, axes
        doubt = ((fineness(pixels) - FINE) / (FINEST - FINE)).clamp(0, 1)
        doubt = doubt * self._asked(margins)
        where = doubt.amax((0, 1)).nonzero()
        self.trust: Tensor | None = None
        if len(where):
            self.trust = 1 - doubt * (1 - self._agreement(where, colours))
            self.doubted = (self.trust < TRUSTED).amax((0, 1, 3)).cpu()  # rows

    def apply(self, colours: Tensor, queries: Queries) -> Tensor:
        """Correct the network's colours (K, Q, C) at queries of the K planes where needed."""
        coord = queries.coord
        if self.trust is None or not self._doubts(coord):
            return colours
        place = self.size, self.origin, queries.fast_axes
        trust = sample_bilinear(self.trust, coord, *place)
        plain = sample_bicubic(self.pixels, coord, *place)
        moved = plain + trust * (colours - plain).clamp(-FAR, FAR)
        return torch.where(trust < TRUSTED, moved, colours)

    def _asked(self, margins: Size) -> Tensor:
        """Make a mask: 1 where points are evaluated, 0 in the margins beyond `PROBED` pixels."""
        asked = torch.zeros_like(self.pixels[:1, :1])
        inner: list[slice] = []
        for origin, whole, part, margin in zip(
            self.origin, self.size, self.pixels.shape[2:], margins, strict=True
        ):
            first = max(0, margin - PROBED) if origin > 0 else 0
            last = max(0, margin - PROBED) if origin + part < whole else 0
            inner.append(slice(first, part - last))
        asked[..., inner[0], inner[1]] = 1
        return asked

    def _doubts(self, coord: Tensor) -> bool:
        """Check whether the network is doubted near the rows of the coordinates."""
        ends = coord[0, :, 0].aminmax()
        first, last = (int((end + 1) * self.size[0] / 2) - self.origin[0] for end in ends)
        return bool(self.doubted[max(first - 1, 0) : last + 2].any())

    def _agreement(self, where: Tensor, colours: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute the trust (K, 1, h, w) in [0, 1] from points of the pixels ``where`` (N, 2)."""
        coord = self._points(where)
        given = colours(coord)
        plain = sample_bicubic(
            self.pixels, coord.expand(len(given), -1, -1), self.size, self.origin
        )
        far = (given - plain).abs()
        shown, level = (plain + (given - plain).clamp(-FAR, FAR)).clamp(0, 1), plain.clamp(0, 1)
        off, lost, far = (
            self._map(where, part.unflatten(1, (-1, len(POINTS))))
            for part in (shown - level, level - plain, far)
        )
        mask = torch.zeros_like(off[:1, :1, ..., 0])
        mask[..., where[:, 0], where[:, 1]] = 1
        count = _means(mask, AROUND).clamp(min=1e-6)
        off, lost = (_means(part.mean(-1) * mask, AROUND) / count for part in (off, lost))
        # What bicubic interpolation itself loses where it leaves [0, 1] reduces the room.
        room = MEAN - lost * off.sign()
        by_mean = (room / off.abs().clamp(min=1e-9)).clamp(0, 1)
        # The minimum around each, since the mean of a pattern may be right at every other pixel.
        by_mean = -F.max_pool2d(-by_mean, 3, 1, 1)
        farthest = F.max_pool2d(far.amax(-1), 3, 1, 1).clamp(min=FAR)
        part = _means((far > FAR).float().mean(-1), AROUND) / count
        too_many = ((part - FEW) / (MANY - FEW)).clamp(0, 1)
        by_distance = 1 - too_many * (1 - FAR / farthest)
        return torch.minimum(by_mean, by_distance).amin(1, keepdim=True)

    def _points(self, where: Tensor) -> Tensor:
        """Get the coordinates (N * P, 2) of the points of the part's pixels ``where`` (N, 2)."""
        parts = torch.tensor(POINTS, dtype=torch.float64, device=where.device) / 8
        places = (where + where.new_tensor(self.origin)).double().unsqueeze(1) + parts
        coords = (
            axis.nearest(place) * (2 / axis.size) - 1
            for axis, place in zip(self.axes, places.flatten(0, 1).unbind(1), strict=True)
        )
        return torch.stack(list(coords), dim=1).to(self.pixels.dtype)

    def _map(self, where: Tensor, values: Tensor) -> Tensor:
        """Put values (K, N, P, C) of pixels into a map (K, C, h, w, P), zero elsewhere."""
        made = self.pixels.new_zeros(*self.pixels.shape, values.shape[2])
        made[:, :, where[:, 0], where[:, 1]] = values.permute(0, 3, 1, 2)
        return made


def fineness(pixels: Tensor) -> Tensor:
    """Measure how much neighbouring pixels (K, C, h, w) alternate, as (K, 1, h, w).

    It is the local mean of the absolute second differences along rows and columns, added up, of the
    channel where they are largest.
    """
    padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    middle = 2 * pixels
    down = padded[..., :-2, 1:-1] - middle + padded[..., 2:, 1:-1]
    across = padded[..., 1:-1, :-2] - middle + padded[..., 1:-1, 2:]
    return _means((down.abs() + across.abs()).amax(1, keepdim=True), FINE_AROUND)


def _means(image: Tensor, side: int) -> Tensor:
    """Average over a square around each pixel, as far as it is in the image."""
    return F.avg_pool2d(image, side, 1, side // 2, count_include_pad=False)
