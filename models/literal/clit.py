"""The formula of CLIT, written out literally."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.literal.places import bilinear, centres, nearest, rows_of


def clit(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """CLIT: stages of attention to the codes around a query, on ever finer grids."""
    size = torch.tensor(feat.shape[-2:])
    rgb = []
    for item in range(len(inp)):
        target = (2 / cell[item, 0]).round().cpu()
        scale = (target / size).max().item()
        factors = [1]
        while scale > 4 and len(factors) < len(model.imnets):
            factors.append(4 * factors[-1])
            scale /= 4
        part = slice(item, item + 1)
        base, total = model.conv_ch(feat[part]), feat.new_zeros(())
        for stage, factor in enumerate(factors):
            maps = base
            if stage:
                fine = feat.new_zeros(1, 1, *(factor * size).tolist())
                grid = centres(fine).permute(0, 2, 3, 1).flip(-1)
                maps = F.grid_sample(base, grid, "bilinear", align_corners=False)
            total = 0.75 * total + _clit_stage(model, stage, maps, coord[part], cell[part])
        rgb.append(total)
    return torch.cat(rgb) + bilinear(inp, coord)


def _clit_stage(model: Any, stage: int, maps: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    size = coord.new_tensor(maps.shape[-2:])
    base, values = nearest(centres(maps), coord), model.conv_vs[stage](maps)
    if model.local_attn:
        keys, queries = model.conv_ks[stage](maps), model.conv_qs[stage](maps)
        taps = F.grid_sample(queries, coord.flip(-1)[:, None], "bilinear", align_corners=False)
        query = taps[:, :, 0].mT.unflatten(-1, (model.head, -1))
    logits, found = [], []
    for row in range(-model.r, model.r + 1):
        for col in range(-model.r, model.r + 1):
            place = base + coord.new_tensor([row, col]) * 2 / size
            found.append(nearest(values, place))
            if model.local_attn:
                key = nearest(keys, place).unflatten(-1, (model.head, -1))
                logit = (query * key).sum(-1) / key.shape[-1] ** 0.5
                if model.pb_encoder is not None:
                    rel = (coord - place) * size
                    frequencies = model.pb_encoder.frequencies
                    angles = torch.cat([rel[..., :1] * frequencies, rel[..., 1:] * frequencies], -1)
                    logit = logit + model.pb_encoder.proj(
                        torch.cat([angles.sin(), angles.cos()], -1)
                    )
                logits.append(logit)
    if model.local_attn:
        weights = torch.stack(logits).softmax(0)
        found = [
            (v.unflatten(-1, (model.head, -1)) * w.unsqueeze(-1)).flatten(-2)
            for v, w in zip(found, weights, strict=True)
        ]
    x = torch.cat([*found, cell * size] if model.is_cell else found, dim=-1)
    return rows_of(model.imnets[stage], x)
