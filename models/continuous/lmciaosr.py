"""CiaoSR in the form of LMF (see `lmf`): attention once per code, a narrow decoder per query."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Tensor

from configs.spec import SpecOf
from models.base import make_encoder
from models.continuous.ciaosr import REL_DIM, CrossScaleAttention, Scale, Scales
from models.continuous.modulated import Modulated, decoder_width
from models.decoders.lmmlp import ModulatedMLP
from models.decoders.mlp import make_mlp
from models.reading import amounts
from models.reading.codes import CodeTable, at_all_codes
from models.reading.latent import ModulatedLatent
from models.registry import make_ours, register

CHANNELS = 64  # channels of the encoder; the published code supports no other number
PART = 4 * CHANNELS  # the part of an unfolded code that is seen from one side


@register("lmciaosr")
class LMCiaoSR(Modulated):
    """A model where each code attends to itself, seen from four sides, to make its modulation.

    Args:
        encoder: The encoder, with 64 channels; always without upsampler.
        prenet_q: Network that makes the query of a code's attention.
        hypernet_q: Network that makes the modulation from the attention's result.
        imnet_q: The decoder of queries, an `lmmlp`.
        imnet_k, imnet_v: Networks for factors of keys and values, from code, side and pixel size.
        local_size: Number of sides per axis: 1 for a single one, 2 for 2 x 2.
        feat_unfold, non_local_attn: Always on.
        multi_scale: Scales of `CrossScaleAttention`.
        softmax_scale: Divisor of the logits.
        mod_input: Decode features from ``hypernet_q``, not from the attention.
        cmsr_spec: See `continuous.cmsr`; None to render everything at its own scale.
    """

    margin = None
    input_skip = "bilinear"

    def __init__(
        self,
        encoder: Annotated[dict[str, Any], SpecOf("no_upsampling")],
        prenet_q: Annotated[dict[str, Any], SpecOf("in_dim", "out_dim")],
        hypernet_q: Annotated[dict[str, Any], SpecOf("in_dim", "out_dim")],
        imnet_q: Annotated[dict[str, Any], SpecOf("in_dim")],
        imnet_k: Annotated[dict[str, Any], SpecOf("in_dim", "out_dim")],
        imnet_v: Annotated[dict[str, Any], SpecOf("in_dim", "out_dim")],
        local_size: Literal[1, 2] = 2,
        feat_unfold: Literal[True] = True,
        non_local_attn: Literal[True] = True,
        multi_scale: Scales | None = None,
        softmax_scale: PositiveFloat = 1,
        mod_input: bool = False,
        cmsr_spec: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            make_encoder(encoder, no_upsampling=True), True, True, mod_input, cmsr_spec
        )
        if self.encoder.out_dim != CHANNELS:
            raise ValueError(f"encoder: {CHANNELS} channels are needed, not {self.encoder.out_dim}")
        self.sides = [0] if local_size == 1 else [-1, 1]
        self.softmax_scale = softmax_scale
        scales: list[Scale] = [2] if multi_scale is None else multi_scale
        values, width = PART + CHANNELS * len(scales), decoder_width(imnet_q)
        decoded = 2 * width if mod_input else values
        decoder = make_ours(imnet_q, args={"in_dim": decoded + 2})
        self.cs_attn = CrossScaleAttention(CHANNELS, scales)
        self.imnet_k = make_mlp(imnet_k, "imnet_k", in_dim=PART + REL_DIM, out_dim=PART)
        self.imnet_v = make_mlp(imnet_v, "imnet_v", in_dim=values + REL_DIM, out_dim=values)
        made = decoder.mod_dim + (decoded if mod_input else 0)
        self.hypernet_q = make_mlp(hypernet_q, "hypernet_q", in_dim=values, out_dim=made)
        self.prenet_q = make_mlp(prenet_q, "prenet_q", in_dim=9 * CHANNELS, out_dim=PART)
        self.imnet_q = decoder

    @property
    def imnet(self) -> ModulatedMLP:  # type: ignore[override]
        return self.imnet_q

    def prepare(self, feat: Tensor, inp: Tensor) -> ModulatedLatent:
        """See `ContinuousModel.prepare`."""
        return ModulatedLatent(feat, inp, hidden=self.cs_attn(feat))

    def per_code(self, latent: ModulatedLatent, rel_cell: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Modulated.per_code`; applies the decoder's first layer to the code."""
        assert rel_cell is not None
        h, w = latent.feat.shape[-2:]
        tables = [CodeTable(latent.feat, unfold=True), CodeTable(latent.hidden)]
        cells = rel_cell.expand(-1, h, w, -1)
        attend = partial(self._attend, (h, w))
        z = at_all_codes(attend, amounts.LMCIAOSR_CODES, tables, cells)
        made = self.hypernet_q(z)
        modulation, decoded = made[..., : self.imnet_q.mod_dim], made[..., self.imnet_q.mod_dim :]
        if not self.mod_input:
            decoded = z
        return F.linear(decoded, self.imnet_q.linears[0].weight[:, :-2]), modulation

    def _attend(self, grid: tuple[int, int], codes: Tensor, found: Tensor, cell: Tensor) -> Tensor:
        """Attend from unfolded codes (B, q, 576) to their sides; returns (B, q, values).

        Args:
            found: Result of `CrossScaleAttention` at the codes.
            cell: Cells of the codes, in units of half a code's side (rel_cell).
        """
        query = self.prenet_q(codes)
        # The published code reads an unfolded code, (64, 3, 3), as if it were (3, 3, 64).
        window = codes.unflatten(-1, (3, 3, CHANNELS))
        logits, values = [], []
        for row, col in product(self.sides, self.sides):
            top, left = (col + 1) // 2, (row + 1) // 2  # row and col swapped, as published
            key = window[..., top : top + 2, left : left + 2, :].flatten(-3)
            rel_coord = cell.new_tensor([-row / grid[0], -col / grid[1]]).expand_as(cell)
            rel = torch.cat([rel_coord, cell], dim=-1).to(key.dtype)
            value = torch.cat([key, found], dim=-1)
            key = key * self.imnet_k(torch.cat([key, rel], dim=-1))
            logits.append((query * key).sum(-1, keepdim=True) / self.softmax_scale)
            values.append(value * self.imnet_v(torch.cat([value, rel], dim=-1)))
        return (torch.stack(logits).softmax(dim=0) * torch.stack(values)).sum(0)

    def first_layer(self, inputs: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
        """See `Modulated.first_layer`; this decoder does not take the cell."""
        weight = self.imnet_q.linears[0].weight[:, -2:].to(inputs.dtype)
        return F.linear(rel_coord.to(inputs.dtype), weight).add_(inputs)
