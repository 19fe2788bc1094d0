"""The formulas of the papers, written out literally: what every faster form is compared with."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def nearest(grid: Tensor, coord: Tensor) -> Tensor:
    """(B, C, h, w) at (B, Q, 2) -> (B, Q, C)."""
    taps = F.grid_sample(grid, coord.flip(-1).unsqueeze(1), mode="nearest", align_corners=False)
    return taps[:, :, 0].permute(0, 2, 1)


def centres(feat: Tensor) -> Tensor:
    """Coordinates of the codes as a map (B, 2, h, w)."""
    h, w = feat.shape[-2:]
    rows = torch.tensor([-1 + (2 * i + 1) / h for i in range(h)], dtype=feat.dtype)
    cols = torch.tensor([-1 + (2 * i + 1) / w for i in range(w)], dtype=feat.dtype)
    grid = torch.stack(torch.meshgrid(rows, cols, indexing="ij"))
    return grid.expand(feat.shape[0], 2, h, w)


def unfold(feat: Tensor) -> Tensor:
    b, c, h, w = feat.shape
    return F.unfold(feat, 3, padding=1).view(b, c * 9, h, w)


def liif(model: Any, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """LIIF, section 3 of the paper: four grid_samples of the unfolded map, four mlp calls."""
    h, w = feat.shape[-2:]
    size = torch.tensor([h, w], dtype=coord.dtype)
    codes = unfold(feat) if model.feat_unfold else feat
    preds, areas = [], []
    for vr in (-1, 1) if model.local_ensemble else (0,):
        for vc in (-1, 1) if model.local_ensemble else (0,):
            moved = coord.clone()
            if model.local_ensemble:
                moved[..., 0] += vr / h + 1e-6
                moved[..., 1] += vc / w + 1e-6
            moved = moved.clamp(-1 + 1e-6, 1 - 1e-6)
            rel = (coord - nearest(centres(feat), moved)) * size
            parts = [nearest(codes, moved), rel]
            if model.cell_decode:
                parts.append(cell * size)
            x = torch.cat(parts, dim=-1)
            preds.append(model.imnet(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
            areas.append((rel[..., 0] * rel[..., 1]).abs() + 1e-9)
    if not model.local_ensemble:
        return preds[0]
    total = sum(areas)
    return sum(p * (areas[3 - t] / total).unsqueeze(-1) for t, p in enumerate(preds))


def metasr(model: Any, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    h, w = feat.shape[-2:]
    size = torch.tensor([h, w], dtype=coord.dtype)
    corner = coord - cell / 2
    moved = (corner + 1e-6).clamp(-1 + 1e-6, 1 - 1e-6)
    code_corners = centres(feat) - torch.tensor([1 / h, 1 / w], dtype=feat.dtype).view(1, 2, 1, 1)
    rel = (corner - nearest(code_corners, moved)) * size / 2
    x = torch.cat([rel, cell[..., :1] * h / 2], dim=-1)
    code = nearest(unfold(feat), moved)
    return torch.einsum("bqd,bqdc->bqc", code, model.imnet(x).unflatten(-1, (-1, 3)))


ORACLES = {"liif": liif, "metasr": metasr}
