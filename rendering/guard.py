"""What keeps a network from ruining pictures that are finer than what it was trained with.

Photographs hardly have neighbouring pixels in black and white by turns; dithers, halftones, faxes
and small QR codes consist of them. There a network may lose the mean level of a place, or give
colours far from those around. So where an input is that fine, the network is asked for a few points
of every pixel, and compared with bicubic interpolation; as far as its mean over some pixels differs
or it is far off, the result is moved to the interpolation. Elsewhere nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from queries import Queries
from rendering.grid import Axis
from utils import sample_bicubic, sample_bilinear

MEAN = 4 / 255  # that the mean over `AROUND` pixels may differ from that of bicubic interpolation
FAR = 0.4  # that a colour may differ from it, except for a few:
FEW, MANY = 0.1, 0.2  # parts of the points around; from `MANY` on, none may
AROUND = 7
# Mean second difference of both axes, over `FINE_AROUND` pixels, from which the network is doubted,
# and from which it counts no more than its points say.
FINE, FINEST = 45 / 255, 65 / 255
FINE_AROUND = 7
REACH = 9  # pixels around one that its trust depends on
PROBED = 5  # pixels around one of which points are asked for
BESIDE = 1  # pixels that a point may lie beside its own
# Where a pixel is asked for, in eighths of it: four points see four rows and four columns. The
# output's pixels that these lie in are looked at, so that it is what is shown that counts.
POINTS = ((1, 3), (3, 7), (5, 1), (7, 5))
TRUSTED = 0.999  # from here on, rounding is all that is missing

Size = tuple[int, int]


class Guard:
    """How far a network is trusted at each pixel of an encoded picture, or of a part of it.

    Args:
        pixels: (K, C, h, w) in [0, 1]: what was encoded.
        size: (h, w) of the whole picture.
        origin: Row and column of the part's first pixel in it.
        margins: Rows and columns of the part that only serve the others; at least `REACH`.
        axes: Rows and columns of the output.
        colours: Of the network at coordinates (Q, 2), for pixels of the output's size: (K, Q, C),
            as of ``pixels``.
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
        """What is to be shown for the network's colours (K, Q, C) at queries of the K planes."""
        coord = queries.coord
        if self.trust is None or not self._doubts(coord):
            return colours
        place = self.size, self.origin, queries.fast_axes
        trust = sample_bilinear(self.trust, coord, *place)
        plain = sample_bicubic(self.pixels, coord, *place)
        moved = plain + trust * (colours - plain).clamp(-FAR, FAR)
        return torch.where(trust < TRUSTED, moved, colours)

    def _asked(self, margins: Size) -> Tensor:
        """1 where points are asked for; 0 in the margins, beyond `PROBED` pixels of them."""
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
        """Whether there are doubts near the rows of the coordinates."""
        ends = coord[0, :, 0].aminmax()
        first, last = (int((end + 1) * self.size[0] / 2) - self.origin[0] for end in ends)
        return bool(self.doubted[max(first - 1, 0) : last + 2].any())

    def _agreement(self, where: Tensor, colours: Callable[[Tensor], Tensor]) -> Tensor:
        """(K, 1, h, w) in [0, 1]: what to trust by the points of pixels at (row, column) (N, 2)."""
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
        # What bicubic interpolation itself loses where it leaves [0, 1] leaves the less room.
        room = MEAN - lost * off.sign()
        by_mean = (room / off.abs().clamp(min=1e-9)).clamp(0, 1)
        # The least of those around, since a mean of a pattern may be right at every other pixel.
        by_mean = -F.max_pool2d(-by_mean, 3, 1, 1)
        farthest = F.max_pool2d(far.amax(-1), 3, 1, 1).clamp(min=FAR)
        part = _means((far > FAR).float().mean(-1), AROUND) / count
        too_many = ((part - FEW) / (MANY - FEW)).clamp(0, 1)
        by_distance = 1 - too_many * (1 - FAR / farthest)
        return torch.minimum(by_mean, by_distance).amin(1, keepdim=True)

    def _points(self, where: Tensor) -> Tensor:
        """Coordinates (N * P, 2) of the points of pixels at (row, column) (N, 2) of the part."""
        parts = torch.tensor(POINTS, dtype=torch.float64, device=where.device) / 8
        places = (where + where.new_tensor(self.origin)).double().unsqueeze(1) + parts
        coords = (
            axis.nearest(place) * (2 / axis.size) - 1
            for axis, place in zip(self.axes, places.flatten(0, 1).unbind(1), strict=True)
        )
        return torch.stack(list(coords), dim=1).to(self.pixels.dtype)

    def _map(self, where: Tensor, values: Tensor) -> Tensor:
        """Values (K, N, P, C) of pixels as a map (K, C, h, w, P), zero elsewhere."""
        made = self.pixels.new_zeros(*self.pixels.shape, values.shape[2])
        made[:, :, where[:, 0], where[:, 1]] = values.permute(0, 3, 1, 2)
        return made


def fineness(pixels: Tensor) -> Tensor:
    """How much neighbours differ by turns, of pixels (K, C, h, w): (K, 1, h, w).

    The second differences along rows and columns, of the channel where they are largest, averaged.
    """
    padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    middle = 2 * pixels
    down = padded[..., :-2, 1:-1] - middle + padded[..., 2:, 1:-1]
    across = padded[..., 1:-1, :-2] - middle + padded[..., 1:-1, 2:]
    return _means((down.abs() + across.abs()).amax(1, keepdim=True), FINE_AROUND)


def _means(image: Tensor, side: int) -> Tensor:
    """Means over squares around each pixel, of what of them is in the image."""
    return F.avg_pool2d(image, side, 1, side // 2, count_include_pad=False)
