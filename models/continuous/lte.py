"""LTE, a model that decodes sines whose amplitudes and frequencies depend on the code, and LTE+.

Source: Lee, Jin, "Local Texture Estimator for Implicit Representation Function", CVPR 2022. LTE+
(`lte-fast`) is its successor.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from configs.spec import SpecOf
from models.base import ContinuousModel, make_decoder, make_encoder
from models.decoders.mlp import MLP, Layer
from models.encoders.blocks import conv3x3
from models.reading.codes import CodeTable
from models.reading.decoder import apply_decoder
from models.reading.ensemble import blend
from models.reading.latent import CodeLatent
from models.reading.waves import FastWaves
from models.registry import register
from queries import Queries

# Where row and column frequencies are in the output of `freq`.
ALTERNATING = (slice(0, None, 2), slice(1, None, 2))


def wave_maps(feat: Tensor, coef: nn.Conv2d, freq: nn.Conv2d, order: tuple[slice, slice]) -> Tensor:
    """Compute amplitudes, row and column frequencies of each code, (B, 2 D, h, w).

    Args:
        feat: (B, C, h, w).
        coef, freq: Convolutions to D channels.
        order: Positions of the row and the column frequencies in the output of ``freq``.
    """
    assert coef.bias is not None
    assert freq.bias is not None
    weight = torch.cat([coef.weight, *(freq.weight[part] for part in order)])
    bias = torch.cat([coef.bias, *(freq.bias[part] for part in order)])
    return F.conv2d(feat, weight, bias, padding=1)


def waves(codes: Tensor, rel_coord: Tensor, phase: Tensor | None) -> Tensor:
    """Compute coef * [cos(pi theta), sin(pi theta)], theta = freq . rel_coord + phase, (..., D).

    Args:
        codes: (..., 2 D), laid out as by `wave_maps`.
        rel_coord: (..., 2).
        phase: (..., D/2).
    """
    half = codes.shape[-1] // 4
    amplitude, rows, cols = codes.split([2 * half, half, half], dim=-1)
    row, col = rel_coord.split(1, dim=-1)
    theta = rows * row + cols * col
    angle = (theta if phase is None else theta + phase) * math.pi
    return amplitude * torch.cat([angle.cos(), angle.sin()], dim=-1)


class Texture(ContinuousModel):
    """A decoder of sines: each code has amplitudes and, for pairs of them, a frequency (row, col).

    It decodes coef * [cos(pi theta), sin(pi theta)] with theta = freq . rel_coord + phase(cell),
    and adds the result to a bilinear sample of the input.

    Args:
        encoder_spec: The encoder.
        hidden_dim: Number of amplitudes, twice that of frequencies.
    """

    margin = 2  # the code of another corner, which was made from its neighbours
    largest_scale = 4.0
    local_ensemble = True

    def __init__(self, encoder_spec: dict[str, Any], hidden_dim: int) -> None:
        if hidden_dim % 2:
            raise ValueError(f"hidden_dim must be even, got {hidden_dim}")
        super().__init__()
        self.encoder = make_encoder(encoder_spec)
        self.coef = conv3x3(self.encoder.out_dim, hidden_dim)
        self.freq = conv3x3(self.encoder.out_dim, hidden_dim)
        self.phase = nn.Linear(2, hidden_dim // 2, bias=False)
        self.order = ALTERNATING

    @property
    def decoder(self) -> list[Layer] | nn.Module:
        """The decoder of the sines: the layers of an mlp, or some other module."""
        raise NotImplementedError

    def prepare(self, feat: Tensor, inp: Tensor) -> CodeLatent:
        """See `ContinuousModel.prepare`."""
        maps = wave_maps(feat, self.coef, self.freq, self.order)
        return CodeLatent(feat, inp, codes=CodeTable(maps))

    def decode(self, latent: CodeLatent, queries: Queries) -> Tensor:
        """See `ContinuousModel.decode`; the cell is required."""
        f = FastWaves(self.f, self.phase, self.decoder)
        width = 2 * self.phase.out_features
        rgb = blend(f, latent, queries.with_cell(), self.local_ensemble, width)
        return latent.add_input(rgb, queries, "bilinear")

    def f(self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
        """Apply the decoder to the waves of codes; the phase depends on the cell."""
        x = waves(z, rel_coord, self.phase(rel_cell)).flatten(0, -2)
        return apply_decoder(self.decoder, x).unflatten(0, rel_coord.shape[:-1])


@register("lte")
class LTE(Texture):
    """LTE: see `Texture`; frequencies of rows and columns alternate.

    Args:
        encoder_spec: The encoder.
        imnet_spec: The decoder; its ``in_dim`` is supplied.
        hidden_dim: Number of amplitudes, twice that of frequencies.
    """

    def __init__(
        self,
        encoder_spec: Annotated[dict[str, Any], SpecOf()],
        imnet_spec: Annotated[dict[str, Any], SpecOf("in_dim")],
        hidden_dim: PositiveInt = 256,
    ) -> None:
        super().__init__(encoder_spec, hidden_dim)
        self.imnet = make_decoder(imnet_spec, hidden_dim)

    @property
    def decoder(self) -> list[Layer] | nn.Module:
        plain = isinstance(self.imnet, MLP) and self.imnet.act == "relu"
        return self.imnet.weights if plain else self.imnet


@register("lte-fast")
class LTEFast(Texture):
    """LTE+: see `Texture`; all frequencies of rows come before those of columns.

    Args:
        encoder_spec: The encoder.
        num_layer: Number of hidden layers of the decoder, each as wide as there are amplitudes.
        hidden_dim: Number of amplitudes, twice that of frequencies.
        out_dim: Number of colour channels.
    """

    def __init__(
        self,
        encoder_spec: Annotated[dict[str, Any], SpecOf()],
        num_layer: PositiveInt = 3,
        hidden_dim: PositiveInt = 256,
        out_dim: PositiveInt = 3,
    ) -> None:
        super().__init__(encoder_spec, hidden_dim)
        self.order = slice(hidden_dim // 2), slice(hidden_dim // 2, None)
        layers: list[nn.Module] = []
        for _ in range(num_layer):
            layers += [nn.Conv2d(hidden_dim, hidden_dim, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(hidden_dim, out_dim, 1))

    @property
    def decoder(self) -> list[Layer]:
        return [
            (layer.weight.flatten(1), layer.bias)
            for layer in self.layers
            if isinstance(layer, nn.Conv2d) and layer.bias is not None
        ]
