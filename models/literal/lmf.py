"""The formulas of the LM models: a network at every code, and a modulated mlp per query."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.literal.places import bilinear, ensemble, nearest, unfold


def lmmlp(imnet: Any, x: Tensor, modulation: Tensor) -> Tensor:
    """LMF, section 3.2: the modulation has the scales of all layers, then their shifts."""
    width, depth = imnet.hidden_dim, imnet.hidden_depth
    shifts = width * depth if imnet.mod_scale else 0
    for i in range(depth):
        x = imnet.layers[2 * i](x)
        if imnet.mod_scale:
            x = x * (modulation[..., i * width : (i + 1) * width] + 1)
        if imnet.mod_shift:
            x = x + modulation[..., shifts + i * width : shifts + (i + 1) * width]
        x = F.relu(x)
    return imnet.layers[-1](x)


def cells_of_codes(feat: Tensor, rel_cell: Tensor) -> Tensor:
    """Give code p the cell of query p; if there are fewer queries, that of the last."""
    codes = feat.shape[-2] * feat.shape[-1]
    missing = max(0, codes - rel_cell.shape[1])
    return torch.cat([rel_cell[:, :codes], rel_cell[:, -1:].expand(-1, missing, -1)], dim=1)


def as_map(rows: Tensor, feat: Tensor) -> Tensor:
    """Reshape rows to a map: (B, h w, C) -> (B, C, h, w)."""
    return rows.mT.unflatten(2, feat.shape[-2:])


def lmliif(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """LM-LIIF: hypernet at every code, then a modulated mlp for every query and corner."""
    rel_cell = cell * cell.new_tensor(feat.shape[-2:])
    z = (unfold(feat) if model.side == 3 else feat).flatten(2).mT
    if model.cell_decode:
        z = torch.cat([z, cells_of_codes(feat, rel_cell)], dim=-1)
    made = as_map(model.hypernet(z), feat)
    modulation, decoded = made[:, : model.imnet.mod_dim], made[:, model.imnet.mod_dim :]
    latent = decoded if model.mod_input else feat

    def predict(moved: Tensor, rel: Tensor) -> Tensor:
        parts = [nearest(latent, moved), rel] + ([rel_cell] if model.cell_decode else [])
        return lmmlp(model.imnet, torch.cat(parts, dim=-1), nearest(modulation, moved))

    return ensemble(feat, coord, predict, model.local_ensemble)


def lmlte(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """LM-LTE: the waves of LTE at every code for the hypernet, and again for every query."""
    rel_cell = cell * cell.new_tensor(feat.shape[-2:])
    coef, freq = model.coef(feat), model.freq(feat)

    def waves(coef: Tensor, freq: Tensor, rel: Tensor, phase: Tensor | float) -> Tensor:
        theta = (freq.unflatten(-1, (-1, 2)) * rel.unsqueeze(-2)).sum(-1) + phase
        return coef * torch.cat([torch.cos(torch.pi * theta), torch.sin(torch.pi * theta)], dim=-1)

    phase = model.phase(cells_of_codes(feat, rel_cell)) if model.cell_decode else 0.0
    ones = coord.new_ones(1, 1, 2)
    z = waves(coef.flatten(2).mT, freq.flatten(2).mT, ones, phase)
    made = as_map(model.hypernet(z), feat)
    modulation = made[:, : model.imnet.mod_dim]
    if model.mod_input:
        coef, freq = made[:, model.imnet.mod_dim :].chunk(2, dim=1)
    layer = model.imphase if model.mod_input else model.phase
    phases = layer(rel_cell) if model.cell_decode else 0.0

    def predict(moved: Tensor, rel: Tensor) -> Tensor:
        x = waves(nearest(coef, moved), nearest(freq, moved), rel, phases)
        return lmmlp(model.imnet, x, nearest(modulation, moved))

    return ensemble(feat, coord, predict, model.local_ensemble) + bilinear(inp, coord)


def lmciaosr(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """LM-CiaoSR: attention to the unfolded code, seen from four sides, makes the modulation."""
    h, w = feat.shape[-2:]
    rel_cell = cell * cell.new_tensor([h, w])
    codes, found = unfold(feat), model.cs_attn(feat).flatten(2).mT
    query = model.prenet_q(codes.flatten(2).mT)
    read_wrongly = codes.flatten(2).mT.reshape(len(feat), h * w, 3, 3, 64)
    logits, values = [], []
    for vr in model.sides:
        for vc in model.sides:
            t, l = (vc + 1) // 2, (vr + 1) // 2  # noqa: E741
            k = read_wrongly[:, :, t : t + 2, l : l + 2].flatten(2)
            rel = -coord.new_tensor([vr / h, vc / w]).expand(len(feat), h * w, 2)
            place = torch.cat([rel, cells_of_codes(feat, rel_cell)], dim=-1)
            v = torch.cat([k, found], dim=-1)
            k, v = (
                x * net(torch.cat([x, place], dim=-1))
                for x, net in ((k, model.imnet_k), (v, model.imnet_v))
            )
            logits.append((query * k).sum(-1, keepdim=True) / model.softmax_scale)
            values.append(v)
    z = (torch.stack(logits).softmax(0) * torch.stack(values)).sum(0)
    made = as_map(model.hypernet_q(z), feat)
    modulation, decoded = made[:, : model.imnet.mod_dim], made[:, model.imnet.mod_dim :]
    latent = decoded if model.mod_input else as_map(z, feat)

    def predict(moved: Tensor, rel: Tensor) -> Tensor:
        x = torch.cat([nearest(latent, moved), rel], dim=-1)
        return lmmlp(model.imnet, x, nearest(modulation, moved))

    return ensemble(feat, coord, predict) + bilinear(inp, coord)
