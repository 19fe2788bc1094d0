"""The formula of SRNO, written out literally."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.literal.places import bilinear, ensemble, nearest


def sronet(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """SRNO: four places and weighted codes, two layers of attention among all queries, an mlp."""
    places: list[Tensor] = []
    codes: list[Tensor] = []
    weights: list[Tensor] = []

    def keep(moved: Tensor, rel: Tensor) -> Tensor:
        places.append(rel)
        codes.append(nearest(feat, moved))
        weights.append((rel[..., 0] * rel[..., 1]).abs() + 1e-9)
        return rel

    ensemble(feat, coord, keep)
    total = sum(weights)
    codes = [c * (weights[3 - t] / total).unsqueeze(-1) for t, c in enumerate(codes)]
    rel_cell = cell * cell.new_tensor(feat.shape[-2:])
    x = torch.cat([*places, *codes, rel_cell], dim=-1).mT.unsqueeze(-1)  # (B, C, Q, 1)
    x = model.conv00(x)
    for layer in (model.conv0, model.conv1):
        x = layer.o_proj2(F.gelu(layer.o_proj1(_galerkin(layer, x) + x))) + x
    return model.fc2(F.gelu(model.fc1(x)))[..., 0].mT + bilinear(inp, coord)


def _galerkin(layer: Any, x: Tensor) -> Tensor:
    """Attend without softmax: q (k^T v) / N per head, k and v normalised; (B, C, N, 1)."""
    outputs = []
    for head, own in enumerate(layer.qkv_proj(x)[..., 0].mT.chunk(layer.heads, dim=-1)):
        q, *kv = own.chunk(3, dim=-1)
        normed = []
        for norm, y in zip((layer.kln, layer.vln), kv, strict=True):
            centred = y - y.mean(-1, keepdim=True)
            deviation = (centred.square().sum(-1, keepdim=True) / (y.shape[-1] - 1)).sqrt()
            normed.append(centred / (deviation + 1e-5) * norm.weight[head] + norm.bias[head])
        k, v = normed
        outputs.append(q @ (k.mT @ v / x.shape[2]))
    return torch.cat(outputs, dim=-1).mT.unsqueeze(-1)
