"""SRNO, a model with attention among all queries.

Source: Wei, Zhang, "Super-Resolution Neural Operator", CVPR 2023.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from configs.spec import SpecOf
from models.base import AllQueries, ContinuousModel, make_encoder
from models.reading import amounts
from models.reading.codes import CodeTable, in_pieces, pieces
from models.reading.ensemble import read_corners
from models.reading.latent import CodeLatent
from models.registry import register
from queries import Queries
from utils import in_inference

EPS = 1e-5
HIDDEN = 256


@register("galerkin")
class Galerkin(nn.Module):
    """Attention without softmax: q (k^T v) / N with k and v normalised, and two 1 x 1 convolutions.

    Its cost is linear in the number of points N, and k^T v is all that a point needs to know of
    the others.

    Args:
        midc: Number of channels.
        heads: Number of heads, which share the channels evenly.
    """

    def __init__(self, midc: PositiveInt, heads: PositiveInt) -> None:
        super().__init__()
        if midc % heads or midc == heads:
            raise ValueError(f"{heads} heads need two or more channels each, of {midc}")
        self.heads = heads
        self.qkv_proj = nn.Conv2d(midc, 3 * midc, 1)
        self.o_proj1 = nn.Conv2d(midc, midc, 1)
        self.o_proj2 = nn.Conv2d(midc, midc, 1)
        self.kln = HeadNorm(heads, midc // heads)
        self.vln = HeadNorm(heads, midc // heads)

    def attend(self, x: Tensor) -> Tensor:
        """Sum k^T v over points: (B, N, midc) -> (B, heads, d, d)."""
        _, k, v = self._qkv(x)
        return self.kln(k).mT @ self.vln(v)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Apply the layer to points (B, N, midc); the shape stays the same.

        Args:
            context: Mean of k^T v over all points, see `attend`; over these points if None.
        """
        q, k, v = self._qkv(x)
        if context is None:
            context = self.kln(k).mT @ self.vln(v) / x.shape[1]
        found = (q @ context.to(q.dtype)).transpose(1, 2).flatten(2) + x
        return at_points(self.o_proj2, F.gelu(at_points(self.o_proj1, found))) + x

    def _qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute q, k and v, (B, heads, N, d) each; those of a head are adjacent channels."""
        heads = at_points(self.qkv_proj, x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q, k, v = heads.unflatten(-1, (3, -1)).unbind(-2)
        return q, k, v


class HeadNorm(nn.Module):
    """A norm that brings each point's vector per head to mean 0 and (unbiased) deviation 1.

    The result is scaled and shifted by learned parameters.
    """

    def __init__(self, heads: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(heads, 1, dim))
        self.bias = nn.Parameter(torch.zeros(heads, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        norm = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)  # std_mean takes far longer
        return centred / (norm / math.sqrt(x.shape[-1] - 1) + EPS) * self.weight + self.bias


@register("sronet")
class SRNO(ContinuousModel):
    """Two layers of attention among all queried points, each of which sees its four codes.

    So a colour depends on which points are queried together: all pixels of a picture, as in the
    published figures. Without gradients the points pass through the layers in pieces, three times:
    the first two passes only compute the sums over all points.

    Args:
        encoder_spec: The encoder.
        width: Number of channels of the layers.
        blocks: Number of heads.
    """

    margin = 1  # the code of another corner
    largest_scale = 4.0
    spans_queries = True

    def __init__(
        self,
        encoder_spec: Annotated[dict[str, Any], SpecOf()],
        width: PositiveInt = 256,
        blocks: PositiveInt = 16,
    ) -> None:
        super().__init__()
        self.encoder = make_encoder(encoder_spec)
        self.conv00 = nn.Conv2d(4 * (self.encoder.out_dim + 2) + 2, width, 1)
        self.conv0 = Galerkin(width, blocks)
        self.conv1 = Galerkin(width, blocks)
        self.fc1 = nn.Conv2d(width, HIDDEN, 1)
        self.fc2 = nn.Conv2d(HIDDEN, 3, 1)

    def prepare(self, feat: Tensor, inp: Tensor) -> CodeLatent:
        """See `ContinuousModel.prepare`."""
        return CodeLatent(feat, inp, codes=CodeTable(feat))

    @torch.no_grad()
    def summarise(self, queries: AllQueries) -> tuple[Tensor, ...]:
        """See `ContinuousModel.summarise`; gives each layer's mean of k^T v over all points."""
        context: list[Tensor] = []
        for layer in (self.conv0, self.conv1):
            total, count = torch.zeros((), dtype=torch.float64), 0
            for latent, some in queries():
                for coord, cell in pieces(amounts.SRNO_QUERIES, some.coord, some.required_cell):
                    x = self._layers(latent, coord, cell, context)
                    total = total + layer.attend(x).double()
                    count += coord.shape[1]
            context.append(total / count)
        return tuple(context)

    def decode(self, latent: CodeLatent, queries: Queries) -> Tensor:
        """See `ContinuousModel.decode`; the cell is required."""
        if latent.context is None and in_inference():
            latent = replace(latent, context=self.summarise(lambda: [(latent, queries)]))
        f = partial(self._colours, latent)
        rgb = in_pieces(f, amounts.SRNO_QUERIES, queries.coord, queries.required_cell)
        return latent.add_input(rgb, queries, "bilinear")

    def _colours(self, latent: CodeLatent, coord: Tensor, cell: Tensor) -> Tensor:
        context = [None, None] if latent.context is None else latent.context
        x = self._layers(latent, coord, cell, context)
        return at_points(self.fc2, F.gelu(at_points(self.fc1, x)))

    def _layers(
        self, latent: CodeLatent, coord: Tensor, cell: Tensor, context: Sequence[Tensor | None]
    ) -> Tensor:
        """Compute points (B, Q, width) after as many layers as there are contexts."""
        found, rel_coord, weights = read_corners(latent, coord)
        found = found * weights.to(found.dtype)
        per_corner = [x.permute(1, 2, 0, 3).flatten(2).to(found.dtype) for x in (rel_coord, found)]
        rel_cell = (cell * cell.new_tensor(latent.grid)).to(found.dtype)
        x = at_points(self.conv00, torch.cat([*per_corner, rel_cell], dim=-1))
        for layer, seen in zip((self.conv0, self.conv1), context, strict=False):
            x = layer(x, seen)
        return x


def at_points(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a 1 x 1 convolution to points (..., C)."""
    return F.linear(x, conv.weight.flatten(1), conv.bias)
