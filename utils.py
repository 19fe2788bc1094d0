"""Pure mathematics of pixel grids: coordinates, nearest codes, interpolation, normalisation.

Convention used everywhere: a coordinate is (row, column) in [-1, 1]; an axis of n pixels has its
pixel centres at -1 + (2i + 1)/n and its pixel edges at -1 + 2i/n, as in `F.grid_sample` with
``align_corners=False``. A cell is the size of one output pixel, (2/H, 2/W).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics import calc_psnr as calc_psnr  # published as utils.calc_psnr

Ranges = Sequence[tuple[float, float]]
Size = tuple[int, int]
Axes = tuple[Tensor, Tensor]  # coordinates of the rows (H,) and the columns (W,) of a grid


def is_recorded() -> bool:
    """Tell whether operations are recorded for export or compilation, so values must stay open."""
    return torch.compiler.is_compiling()


def in_inference() -> bool:
    """Tell whether only results are needed: neither gradients nor a program are recorded."""
    return not (torch.is_grad_enabled() or is_recorded())


class Averager:
    """A running mean of weighted values."""

    def __init__(self) -> None:
        self.count = 0.0
        self.total = 0.0

    def add(self, value: float, weight: float = 1.0) -> None:
        self.total += value * weight
        self.count += weight

    def item(self) -> float:
        """Return the mean so far; NaN before the first value."""
        return self.total / self.count if self.count else math.nan


def pixel_centres(
    n: int,
    low: float = -1.0,
    high: float = 1.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    part: range | None = None,
) -> Tensor:
    """Compute the centres of n pixels that tile [low, high], (n,); or of a part of them.

    The order of operations is that of the published code: where a query falls on a code's centre,
    the last bit of that centre decides the ensemble weights.
    """
    if n <= 0:
        raise ValueError(f"a grid needs a positive size, got {n}")
    half = (high - low) / (2 * n)
    first, stop = (0, n) if part is None else (part.start, part.stop)
    return (low + half) + (2 * half) * torch.arange(first, stop, dtype=dtype, device=device)


def make_coord(shape: Sequence[int], ranges: Ranges | None = None, flatten: bool = True) -> Tensor:
    """Compute the coordinates of the pixel centres of a grid.

    Args:
        shape: Grid size, e.g. ``(H, W)``; the last axis of the result is (row, col).
        ranges: ``(low, high)`` per axis; [-1, 1] if None.
        flatten: Return ``(H*W, 2)`` rather than ``(H, W, 2)``.

    Returns:
        float32; centre i of n lies at low + (2i+1)(high-low)/(2n), as in grid_sample with
        align_corners=False.

    Raises:
        ValueError: If a size is not positive.
    """
    if ranges is None:
        ranges = [(-1.0, 1.0)] * len(shape)
    axes = [pixel_centres(n, *r) for n, r in zip(shape, ranges, strict=True)]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    return grid.flatten(0, -2) if flatten else grid


def make_cell(shape: Sequence[int]) -> Tensor:
    """Compute the pixel size of an (H, W) grid over [-1, 1]: float32 ``(2/H, 2/W)``, shape (2,)."""
    return torch.tensor([2 / n for n in shape])


def to_pixel_samples(img: Tensor) -> tuple[Tensor, Tensor]:
    """Convert an image to (coordinate, value) pairs of all its pixels, row by row.

    Args:
        img: (C, H, W).

    Returns:
        coord (H*W, 2) at the pixel centres and values (H*W, C).
    """
    coord = make_coord(img.shape[-2:]).to(img.device)
    return coord, img.reshape(img.shape[0], -1).T


def pixel_position(coord: Tensor, size: int) -> Tensor:
    """Convert coordinates along an axis to positions in pixels, which are integers at centres.

    The order of operations is that of ``grid_sample(align_corners=False)``.
    """
    return ((coord + 1) * size - 1) / 2


def nearest_index(coord: Tensor, size: int) -> Tensor:
    """Find the index of the pixel nearest to each coordinate along one axis.

    It rounds ((x + 1) n - 1)/2 half to even in the dtype of ``coord``, as
    ``grid_sample(mode="nearest")`` does; coordinates outside take the border pixel.

    Args:
        coord: Any shape, float32 or float64.
        size: Number of pixels n along the axis.

    Returns:
        int64 in [0, n-1], the shape of ``coord``.
    """
    return pixel_position(coord, size).round().long().clamp(0, size - 1)


def sample_nearest(
    image: Tensor, coord: Tensor, size: Size | None = None, origin: Size = (0, 0)
) -> Tensor:
    """Sample the pixel nearest to each query: (B, C, h, w), (B, Q, 2) -> (B, Q, C).

    Args:
        image: A whole image, or the part that begins at ``origin`` of an image of ``size``;
            coordinates refer to the whole. This holds for all sampling functions.
    """
    (h, w), width = size or image.shape[-2:], image.shape[-1]
    row = nearest_index(coord[..., 0], h) - origin[0]
    index = row * width + nearest_index(coord[..., 1], w) - origin[1]
    taps = image.flatten(2).gather(2, index.unsqueeze(1).expand(-1, image.shape[1], -1))
    return taps.transpose(1, 2)


def sample_bilinear(
    image: Tensor,
    coord: Tensor,
    size: Size | None = None,
    origin: Size = (0, 0),
    axes: Axes | None = None,
) -> Tensor:
    """Interpolate bilinearly, with the border repeated: (B, C, h, w), (B, Q, 2) -> (B, Q, C).

    Equals ``grid_sample(padding_mode="border", align_corners=False)``.

    Args:
        size, origin: As in `sample_nearest`.
        axes: Axes of the grid, if the queries form one: one axis after the other is faster.
    """
    return _sample(image, coord, _linear_taps, size, origin, axes)


def sample_bicubic(
    image: Tensor,
    coord: Tensor,
    size: Size | None = None,
    origin: Size = (0, 0),
    axes: Axes | None = None,
) -> Tensor:
    """Interpolate by cubic convolution, border repeated: (B, C, h, w), (B, Q, 2) -> (B, Q, C).

    Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -1/2: the
    kernel of Pillow and MATLAB, exact for quadratics (``F.interpolate`` and ``F.grid_sample`` have
    a = -3/4). There is no antialiasing: at scales below 1 it samples, it does not average.

    Args:
        size, origin, axes: As in `sample_bilinear`.
    """
    return _sample(image, coord, _cubic_taps, size, origin, axes)


def _sample(
    image: Tensor,
    coord: Tensor,
    taps: Callable[[Tensor, int], tuple[Tensor, Tensor]],
    size: Size | None,
    origin: Size,
    axes: Axes | None,
) -> Tensor:
    """Compute weighted sums of the pixels that ``taps`` selects along each axis."""
    batch, channels, height, width = image.shape
    h, w = size or (height, width)
    if axes is not None:
        for dim, (x, n, start) in enumerate(zip(axes, (h, w), origin, strict=True)):
            index, weights = taps(x, n)
            image = _weighted_lines(image, dim + 2, index - start, weights.to(image.dtype))
        return image.flatten(2).mT
    rows, row_weights = taps(coord[..., 0], h)
    cols, col_weights = taps(coord[..., 1], w)
    first = torch.arange(batch, device=image.device).view(-1, 1, 1, 1) * (height * width)
    index = first + (rows - origin[0]).unsqueeze(-1) * width + (cols - origin[1]).unsqueeze(-2)
    weights = row_weights.unsqueeze(-1) * col_weights.unsqueeze(-2)
    count = weights.shape[-1] * weights.shape[-2]
    # Gathers the pixels and sums them with weights in one call.
    return F.embedding_bag(
        index.reshape(-1, count),
        image.permute(0, 2, 3, 1).reshape(-1, channels),
        per_sample_weights=weights.reshape(-1, count).to(image.dtype),
        mode="sum",
    ).view(batch, -1, channels)


def _weighted_lines(image: Tensor, dim: int, index: Tensor, weights: Tensor) -> Tensor:
    """Sum lines along a dimension of (B, C, h, w), by index and weights (n, taps)."""
    shape = (-1, 1) if dim == 2 else (-1,)
    lines = (
        image.index_select(dim, tap) * weight.view(shape)
        for tap, weight in zip(index.unbind(-1), weights.unbind(-1), strict=True)
    )
    total = next(lines)
    for line in lines:
        total += line
    return total


def _linear_taps(coord: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Find the two pixels around each coordinate of one axis and their weights, (..., 2) each."""
    position = pixel_position(coord, size).clamp(0, size - 1)
    first = torch.floor(position)
    t = (position - first).unsqueeze(-1)
    index = first.long().unsqueeze(-1) + torch.arange(2, device=coord.device)
    return index.clamp(0, size - 1), torch.cat([1 - t, t], dim=-1)


def _cubic_taps(coord: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Find the four pixels around each coordinate of one axis and their weights, (..., 4) each."""
    position = pixel_position(coord, size)
    first = torch.floor(position)
    t = (position - first).unsqueeze(-1)
    t2, t3 = t * t, t * t * t
    weights = torch.cat(
        [
            -0.5 * t3 + t2 - 0.5 * t,
            1.5 * t3 - 2.5 * t2 + 1,
            -1.5 * t3 + 2 * t2 + 0.5 * t,
            0.5 * t3 - 0.5 * t2,
        ],
        dim=-1,
    )
    index = first.long().unsqueeze(-1) + torch.arange(-1, 3, device=coord.device)
    return index.clamp(0, size - 1), weights


def normalise(x: Tensor, stats: Mapping[str, Sequence[float]], channel_dim: int) -> Tensor:
    """Compute (x - sub) / div per channel; ``stats = {"sub": [..], "div": [..]}``, 1 or C numbers.

    Raises:
        ValueError: If there are neither 1 nor C numbers.
    """
    sub, div = (_per_channel(stats[key], x, channel_dim) for key in ("sub", "div"))
    return (x - sub) / div


def denormalise(x: Tensor, stats: Mapping[str, Sequence[float]], channel_dim: int) -> Tensor:
    """Compute x * div + sub per channel, the inverse of `normalise`."""
    sub, div = (_per_channel(stats[key], x, channel_dim) for key in ("sub", "div"))
    return x * div + sub


def _per_channel(values: Sequence[float], x: Tensor, channel_dim: int) -> Tensor:
    if len(values) not in (1, x.shape[channel_dim]):
        raise ValueError(f"{len(values)} numbers for {x.shape[channel_dim]} channels")
    shape = [1] * x.ndim
    shape[channel_dim] = -1
    return torch.tensor(values, dtype=x.dtype).to(x.device, non_blocking=True).view(shape)
