"""The formula of CiaoSR, written out literally."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.literal.places import bilinear, centres, nearest, rows_of, unfold


def ciaosr(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """CiaoSR: attention from the code at the query to those around it."""
    h, w = feat.shape[-2:]
    size = coord.new_tensor([h, w])
    keys = unfold(feat) if model.feat_unfold else feat
    values = keys if model.cs_attn is None else torch.cat([keys, model.cs_attn(feat)], dim=1)
    query = nearest(keys, coord)
    reach = (1 - cell[:, :1]) / (size - 1)
    steps = {1: [0], 2: [-1, 1], 3: [-1, 0, 1]}[model.local_size]
    logits, found = [], []
    for vr in steps:
        for vc in steps:
            moved = coord.clone()
            for axis, step in enumerate((vr, vc)):
                if step:
                    moved[..., axis] += step * reach[..., axis] + 1e-6
            moved = moved.clamp(-1 + 1e-6, 1 - 1e-6)
            place = torch.cat([(coord - nearest(centres(feat), moved)) * size, cell * size], dim=-1)
            k, v = nearest(keys, moved), nearest(values, moved)
            k = k * model.imnet_k(torch.cat([k, place], dim=-1))
            v = v * model.imnet_v(torch.cat([v, place], dim=-1))
            logits.append((query * k).sum(-1, keepdim=True) / model.softmax_scale)
            found.append(v)
    attended = (torch.stack(logits).softmax(0) * torch.stack(found)).sum(0)
    return rows_of(model.imnet_q, attended) + bilinear(inp, coord)
