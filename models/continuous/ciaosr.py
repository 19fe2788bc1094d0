"""CiaoSR, a model with attention to codes and within the feature map, as in the code of LMF.

Source: Cao et al., "CiaoSR: Continuous Implicit Attention-in-Attention Network for Arbitrary-Scale
Image Super-Resolution", CVPR 2023.
"""

from __future__ import annotations

from itertools import product
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from configs.spec import SpecOf
from models.base import ContinuousModel, make_decoder, make_encoder
from models.decoders.mlp import make_mlp
from models.encoders.blocks import reflect_to_multiple
from models.reading import amounts
from models.reading.codes import CodeTable, of_codes
from models.reading.latent import TablesLatent
from models.reading.neighbourhood import look_around
from models.registry import register
from queries import Queries

BLOCK = 48  # side of the blocks in which large images attend to themselves
SHARPNESS = 10.0  # factor of the logits in the softmax over patches
LEAST_NORM = 1e-4
OVERLAPS = 6.0  # divisor of the sum of overlapping patches
REL_DIM = 4  # numbers per query besides the code: rel_coord and rel_cell

Scale = Literal[2, 3, 4]
Scales = Annotated[list[Scale], Field(min_length=1)]


class Activated(nn.Sequential):
    """A 1 x 1 convolution and a PReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.Conv2d(in_channels, out_channels, 1), nn.PReLU())


class CrossScaleAttention(nn.Module):
    """Attention that rebuilds each place of a feature map from similar, larger patches of the map.

    Args:
        channels: Channels of the map.
        scales: Factors by which the patches are larger.
    """

    def __init__(self, channels: int, scales: list[Scale]) -> None:
        super().__init__()
        self.scales = scales
        self.register_buffer("escape_NaN", torch.tensor([LEAST_NORM]))  # in published files
        self.conv_match_1 = Activated(channels, channels // 2)
        self.conv_match_2 = Activated(channels, channels // 2)
        self.conv_assembly = Activated(channels, channels)
        # In the published order: optimizers in checkpoints count the parameters.
        if 3 in scales:
            self.downx3 = nn.Conv2d(channels, channels, 3, stride=3, padding=1)
        if 4 in scales:
            self.downx4 = nn.Conv2d(channels, channels, 3, stride=4, padding=1)
        self.down = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, feat: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C * scales, h, w).

        Beyond 48 x 48 codes it is computed in blocks of that size, as published. The result is
        then all zeros if one side is shorter than a block.
        """
        height, width = feat.shape[-2:]
        if height * width <= BLOCK**2:
            return self.attend(feat)
        out = feat.new_zeros(len(feat), feat.shape[1] * len(self.scales), height, width)
        for (top, bottom), (left, right) in product(_blocks(height), _blocks(width)):
            rows, cols = _widened(top, bottom, height), _widened(left, right, width)
            found = self.attend(feat[..., slice(*rows), slice(*cols)])
            inner = found[..., top - rows[0] :, left - cols[0] :]
            out[..., top:bottom, left:right] = inner[..., : bottom - top, : right - left]
        return out

    def attend(self, feat: Tensor) -> Tensor:
        """Attend from a whole map to itself, separately for each item of the batch."""
        items = feat.split(1)
        return torch.cat(
            [torch.cat([self._at_scale(item, s) for s in self.scales], 1) for item in items]
        )

    def _at_scale(self, feat: Tensor, scale: int) -> Tensor:
        height, width = feat.shape[-2:]
        padded = reflect_to_multiple(feat, scale)
        value, query = self.conv_assembly(padded), self.conv_match_1(padded)
        small = F.interpolate(padded, scale_factor=1 / scale, mode="bilinear", align_corners=False)
        key = self.conv_match_2(small)
        keys = F.unfold(key, 3, padding=1)[0].T.unflatten(1, (-1, 3, 3))
        norm = keys.flatten(1).norm(dim=1).clamp(min=LEAST_NORM)
        score = F.conv2d(query, keys / norm.view(-1, 1, 1, 1), padding=1)
        weights = (SHARPNESS * score).softmax(dim=1)
        side = 3 * scale
        values = F.unfold(value, side, padding=scale, stride=scale)[0].T
        values = values.unflatten(1, (-1, side, side))
        large = F.conv_transpose2d(weights, values, stride=scale, padding=scale)
        down = {2: "down", 3: "downx3", 4: "downx4"}[scale]
        return getattr(self, down)(large)[..., :height, :width] / OVERLAPS


def _blocks(size: int) -> list[tuple[int, int]]:
    """Split an axis into blocks; the last one ends at the border."""
    count = size // BLOCK
    return [(BLOCK * i, size if i == count - 1 else BLOCK * (i + 1)) for i in range(count)]


def _widened(first: int, stop: int, size: int) -> tuple[int, int]:
    """Widen a block by one code on either side, where there is one."""
    return max(first - 1, 0), min(stop + 1, size)


@register("ciaosr")
class CiaoSR(ContinuousModel):
    """Attention from the code at a query to the codes around it, and from the map to itself.

    All queries must be for pixels of one size, since it decides which codes are around them; the
    size of the first query is used for all.

    Args:
        encoder: The encoder; always without upsampler.
        imnet_q: The decoder of the attention's result.
        imnet_k, imnet_v: Networks for factors of keys and values, from code, place and pixel size.
        local_size: Number of codes per side to attend to: the nearest code, 2 x 2 or 3 x 3.
        feat_unfold: Concatenate each code with its 3 x 3 neighbours.
        non_local_attn: Include the result of `CrossScaleAttention` in the values.
        multi_scale: Scales of `CrossScaleAttention`.
        softmax_scale: Divisor of the logits.
    """

    one_cell = True

    def __init__(
        self,
        encoder: Annotated[dict[str, Any], SpecOf("no_upsampling")],
        imnet_q: Annotated[dict[str, Any], SpecOf("in_dim")],
        imnet_k: Annotated[dict[str, Any], SpecOf("in_dim", "out_dim")],
        imnet_v: Annotated[dict[str, Any], SpecOf("in_dim", "out_dim")],
        local_size: Literal[1, 2, 3] = 2,
        feat_unfold: bool = True,
        non_local_attn: bool = True,
        multi_scale: Scales | None = None,
        softmax_scale: PositiveFloat = 1,
    ) -> None:
        super().__init__()
        self.local_size = local_size
        self.feat_unfold = feat_unfold
        self.softmax_scale = softmax_scale
        self.encoder = make_encoder(encoder, no_upsampling=True)
        channels = self.encoder.out_dim
        scales: list[Scale] = [2] if multi_scale is None else multi_scale
        codes = channels * (9 if feat_unfold else 1)
        values = codes + (channels * len(scales) if non_local_attn else 0)
        self.imnet_q = make_decoder(imnet_q, values)
        self.imnet_k = make_mlp(imnet_k, "imnet_k", in_dim=codes + REL_DIM, out_dim=codes)
        self.imnet_v = make_mlp(imnet_v, "imnet_v", in_dim=values + REL_DIM, out_dim=values)
        self.cs_attn = CrossScaleAttention(channels, scales) if non_local_attn else None

    def prepare(self, feat: Tensor, inp: Tensor) -> TablesLatent:
        """See `ContinuousModel.prepare`; applies the first layers of k and v to the codes."""
        found = None if self.cs_attn is None else self.cs_attn(feat)
        inputs = feat.shape[1] * (9 if self.feat_unfold else 1)
        firsts = [imnet.linears[0] for imnet in (self.imnet_k, self.imnet_v)]
        weight = torch.cat([first.weight[:, :inputs] for first in firsts])
        bias = torch.cat([first.bias for first in firsts])
        hidden = of_codes(weight, bias, feat, self.feat_unfold)
        if found is not None:
            of_k, of_v = hidden.split([first.out_features for first in firsts], dim=1)
            weight = firsts[1].weight[:, inputs:-REL_DIM]
            hidden = torch.cat([of_k, of_v + of_codes(weight, None, found, False)], dim=1)
        tables = [CodeTable(feat, self.feat_unfold), CodeTable(hidden)]
        tables += [] if found is None else [CodeTable(found)]
        return TablesLatent(feat, inp, tables=tuple(tables))

    def decode(self, latent: TablesLatent, queries: Queries) -> Tensor:
        """See `ContinuousModel.decode`; the cell is required.

        Half the distance from a query to the codes around it is (1 - cell)/(n - 1), as published.
        """
        coord, cell = queries.coord, queries.required_cell
        steps = {1: (0,), 2: (-1, 1), 3: (-1, 0, 1)}[self.local_size]
        moves = []
        for axis, n in enumerate(latent.grid):
            reach = 1 / ((n - 1) / (1 - cell[:, :1, axis]))
            moves.append([step * reach if step else None for step in steps])
        rel_cell = cell * cell.new_tensor(latent.grid)
        rgb = look_around(
            self.f, amounts.CIAOSR_QUERIES, latent.tables, coord, moves, rel_cell.expand_as(coord)
        )
        return latent.add_input(rgb, queries, "bilinear")

    def f(self, query: Tensor, codes: list[Tensor], rel_coord: Tensor, rel_cell: Tensor) -> Tensor:
        """Compute the colours (B, q, 3) of queries from the T codes around them.

        Args:
            query: Code at each query (B, q, C).
            codes: Codes around it (T, B, q, C), the outputs of the first layers of k and v for
                them, and those of `CrossScaleAttention` there, if it is on.
            rel_coord: (T, B, q, 2).
            rel_cell: (B, q, 2).
        """
        key, first, *found = codes
        value = torch.cat([key, *found], dim=-1)
        rel = torch.cat([rel_coord, rel_cell.expand_as(rel_coord)], dim=-1).to(key.dtype)
        widths = [imnet.linears[0].out_features for imnet in (self.imnet_k, self.imnet_v)]
        factors = [
            imnet.rest(part + F.linear(rel, imnet.linears[0].weight[:, -REL_DIM:]))
            for imnet, part in zip(
                (self.imnet_k, self.imnet_v), first.split(widths, dim=-1), strict=True
            )
        ]
        logits = (query * key * factors[0]).sum(-1, keepdim=True) / self.softmax_scale
        attended = (logits.softmax(dim=0) * value * factors[1]).sum(0)
        return self.imnet_q(attended.flatten(0, 1)).unflatten(0, attended.shape[:2])
