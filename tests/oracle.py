"""The formulas of the papers, written out literally: what every faster form is compared with."""

from __future__ import annotations

from collections.abc import Callable
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
    rows = feat.new_tensor([-1 + (2 * i + 1) / h for i in range(h)])
    cols = feat.new_tensor([-1 + (2 * i + 1) / w for i in range(w)])
    grid = torch.stack(torch.meshgrid(rows, cols, indexing="ij"))
    return grid.expand(feat.shape[0], 2, h, w)


def unfold(feat: Tensor) -> Tensor:
    b, c, h, w = feat.shape
    return F.unfold(feat, 3, padding=1).view(b, c * 9, h, w)


def bilinear(inp: Tensor, coord: Tensor) -> Tensor:
    """(B, C, h, w) at (B, Q, 2) -> (B, Q, C), the border repeated."""
    grid = coord.flip(-1).unsqueeze(1)
    taps = F.grid_sample(inp, grid, "bilinear", padding_mode="border", align_corners=False)
    return taps[:, :, 0].permute(0, 2, 1)


def ensemble(
    feat: Tensor, coord: Tensor, predict: Callable[[Tensor, Tensor], Tensor], moves: bool = True
) -> Tensor:
    """LIIF, eq. 4: predictions from the moved coordinates and rel_coord of four corners."""
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
    """A function of (N, C) applied to (B, Q, C)."""
    return function(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def liif(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """LIIF, section 3 of the paper: four grid_samples of the unfolded map, four mlp calls."""
    codes = unfold(feat) if model.feat_unfold else feat
    cells = [cell * cell.new_tensor(feat.shape[-2:])] if model.cell_decode else []

    def predict(moved: Tensor, rel: Tensor) -> Tensor:
        return rows_of(model.imnet, torch.cat([nearest(codes, moved), rel, *cells], dim=-1))

    return ensemble(feat, coord, predict, model.local_ensemble)


def metasr(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    h, w = feat.shape[-2:]
    size = coord.new_tensor([h, w])
    corner = coord - cell / 2
    moved = (corner + 1e-6).clamp(-1 + 1e-6, 1 - 1e-6)
    code_corners = centres(feat) - feat.new_tensor([1 / h, 1 / w]).view(1, 2, 1, 1)
    rel = (corner - nearest(code_corners, moved)) * size / 2
    x = torch.cat([rel, cell[..., :1] * h / 2], dim=-1)
    code = nearest(unfold(feat), moved)
    return torch.einsum("bqd,bqdc->bqc", code, model.imnet(x).unflatten(-1, (-1, 3)))


def lte(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """LTE: amplitudes and consecutive pairs of frequencies, sampled at four corners."""
    return _texture(model, inp, feat, coord, cell, lambda f: f.unflatten(-1, (-1, 2)), model.imnet)


def lte_fast(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """LTE+: all row frequencies come first, and the decoder is made of 1 x 1 convolutions."""

    def decode(x: Tensor) -> Tensor:
        return model.layers(x[..., None, None])[..., 0, 0]

    def pairs(f: Tensor) -> Tensor:
        return torch.stack(f.chunk(2, dim=-1), dim=-1)

    return _texture(model, inp, feat, coord, cell, pairs, decode)


def _texture(
    model: Any,
    inp: Tensor,
    feat: Tensor,
    coord: Tensor,
    cell: Tensor,
    pairs: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
) -> Tensor:
    coef, freq = model.coef(feat), model.freq(feat)
    rel_cell = cell * cell.new_tensor(feat.shape[-2:])

    def predict(moved: Tensor, rel: Tensor) -> Tensor:
        theta = (pairs(nearest(freq, moved)) * rel.unsqueeze(-2)).sum(-1) + model.phase(rel_cell)
        waves = torch.cat([torch.cos(torch.pi * theta), torch.sin(torch.pi * theta)], dim=-1)
        return rows_of(decode, nearest(coef, moved) * waves)

    return ensemble(feat, coord, predict) + bilinear(inp, coord)


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
    """Code p has the cell of query p; where there are fewer queries, that of the last."""
    codes = feat.shape[-2] * feat.shape[-1]
    missing = max(0, codes - rel_cell.shape[1])
    return torch.cat([rel_cell[:, :codes], rel_cell[:, -1:].expand(-1, missing, -1)], dim=1)


def as_map(rows: Tensor, feat: Tensor) -> Tensor:
    """(B, h w, C) -> (B, C, h, w)."""
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


def sronet(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """SRNO: four codes and places by weight, two layers of attention among all queries, an mlp."""
    places, codes, weights = [], [], []

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


def lmciaosr(model: Any, inp: Tensor, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    """LM-CiaoSR: the unfolded code as seen from four sides, attended to, makes the modulation."""
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


ORACLES = {
    "liif": liif,
    "metasr": metasr,
    "lte": lte,
    "lte-fast": lte_fast,
    "lmliif": lmliif,
    "lmlte": lmlte,
    "sronet": sronet,
    "ciaosr": ciaosr,
    "lmciaosr": lmciaosr,
    "clit": clit,
}
