"""Coordinates of codes, the nearest code, and the local ensemble, with ``grid_sample``."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def nearest(grid: Tensor, coord: Tensor) -> Tensor:
    """Sample the nearest place: (B, C, h, w) at (B, Q, 2) -> (B, Q, C)."""
    taps = F.grid_sample(grid, coord.flip(-1).unsqueeze(1), mode="nearest", align_corners=False)
    return taps[:, :, 0].permute(0, 2, 1)


def centres(feat: Tensor) -> Tensor:
    """Return the coordinates of the codes as a map (B, 2, h, w)."""
    h, w = feat.shape[-2:]
    rows = feat.new_tensor([-1 + (2 * i + 1) / h for i in range(h)])
    cols = feat.new_tensor([-1 + (2 * i + 1) / w for i in range(w)])
    grid = torch.stack(torch.meshgrid(rows, cols, indexing="ij"))
    return grid.expand(feat.shape[0], 2, h, w)


def unfold(feat: Tensor) -> Tensor:
    """Join each code with its 3 x 3 neighbours, zeros outside: (B, C, h, w) -> (B, 9C, h, w)."""
    b, c, h, w = feat.shape
    return F.unfold(feat, 3, padding=1).view(b, c * 9, h, w)


def bilinear(inp: Tensor, coord: Tensor) -> Tensor:
    """Interpolate (B, C, h, w) bilinearly at (B, Q, 2) -> (B, Q, C), with the border repeated."""
    grid = coord.flip(-1).unsqueeze(1)
    taps = F.grid_sample(inp, grid, "bilinear", padding_mode="border", align_corners=False)
    return taps[:, :, 0].permute(0, 2, 1)


def ensemble(
    feat: Tensor, coord: Tensor, predict: Callable[[Tensor, Tensor], Tensor], moves: bool = True
) -> Tensor:
    """Blend predictions from moved coordinates and rel_coord of four corners (LIIF, eq. 4)."""
    h, w = feat.shape[-2:]
    size = coord.new_tensor([h, w])
    preds, areas = [], []
    for vr in (-1, 1) if moves else (0,):
        for vc in (-1, 1) if moves else (0,):
            moved = coord.clone()
            if moves:
                moved[..., 0] += vr / h + 1e-6
                moved[..., 1] += vc / w + 1e-6
            moved = moved.clamp(-1 + 1e-6, 1 - 1e-6)
            rel = (coord - nearest(centres(feat), moved)) * size
            preds.append(predict(moved, rel))
            areas.append((rel[..., 0] * rel[..., 1]).abs() + 1e-9)
    if not moves:
        return preds[0]
    weights = torch.stack(areas[::-1]) / torch.stack(areas).sum(0)
    return (torch.stack(preds) * weights.unsqueeze(-1)).sum(0)


def rows_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function of (N, C) to (B, Q, C)."""
    return function(x.flatten(0, 1)).unflatten(0, x.shape[:2])
