"""Keep colours consistent with their alpha, so that edges of transparency have no fringes."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rendering.grid import Axis
from rendering.picture import TRANSPARENT, Picture
from utils import nearest_index

PIXELS = 2**20  # input pixels processed at a time
FARTHER = 3  # how many pixels farther to look for colours, where none is visible close by


def consistent(picture: Picture, band: Tensor, rows: Axis, cols: Axis) -> Tensor:
    """Make the colours of rendered planes consistent with their alpha, as in the input.

    Colours and alpha are rendered separately. Where there is little alpha, a small mismatch
    between them makes a large error in the colour: a dark or bright fringe. So where the input is
    not opaque all around, each colour is limited to the range of those visible there.

    Args:
        picture: A picture that is not opaque.
        band: Rendered `planes` (K, C, r, W).
        rows, cols: Grid of the band.

    Returns:
        The same band, changed in place.
    """
    read = len(cols) * (cols.cell * cols.size / 2) * (rows.cell * rows.size / 2)
    step = max(1, int(PIXELS / read))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        _fit_colours(picture, band[:, :, part], rows[part], cols)
    return band


def _fit_colours(picture: Picture, band: Tensor, rows: Axis, cols: Axis) -> None:
    """Limit the colours of a band in place; see `consistent`."""
    reach = [max(1, math.ceil(axis.cell * axis.size)) for axis in (rows, cols)]
    nearest = [nearest_index(axis.centres, axis.size) for axis in (rows, cols)]
    first, last = [], []
    for index, far in zip(nearest, reach, strict=True):
        first.append(max(0, int(index[0]) - far - FARTHER))
        last.append(int(index[-1]) + far + FARTHER + 1)
    part = picture.pixels[first[0] : last[0], first[1] : last[1]].astype(np.float32)
    pixels = torch.from_numpy(part / np.float32(picture.white)).permute(2, 0, 1)
    seen = pixels[-1] > TRANSPARENT
    # The maximum, and the negated minimum; minus infinity where nothing is visible.
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


def _largest_around(plane: Tensor, reach: list[int]) -> Tensor:
    """Take the maximum of (C, h, w) over ``reach`` rows and columns to each side."""
    down, across = reach
    plane = F.max_pool2d(plane, (2 * down + 1, 1), stride=1, padding=(down, 0))
    return F.max_pool2d(plane, (1, 2 * across + 1), stride=1, padding=(0, across))
