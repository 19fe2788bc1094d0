"""LMF, the models with a decoder so narrow that a query is cheap, modulated by its code.

Source: He, Jin, "Latent Modulated Function for Computational Optimal Continuous Image
Representation", CVPR 2024.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from configs.spec import SpecOf
from models.base import make_encoder
from models.continuous.lte import ALTERNATING, wave_maps, waves
from models.continuous.modulated import Modulated, decoder_width
from models.encoders.blocks import conv3x3
from models.reading.codes import of_codes
from models.reading.latent import ModulatedLatent
from models.registry import register


@register("lmliif")
class LMLIIF(Modulated):
    """LIIF with a modulated decoder; see `Modulated`.

    Args:
        encoder_spec: The encoder.
        imnet_spec: The decoder of queries, an `lmmlp`; its ``in_dim`` is supplied.
        hypernet_spec: The network at the codes, an `mlp`; ``in_dim`` and ``out_dim`` are supplied.
        local_ensemble: Blend the predictions of the four surrounding codes by area.
        feat_unfold: Give the network at the codes the 3 x 3 neighbours of each code.
        cell_decode: Give both networks the size of the queried pixel.
        mod_input: Decode features from the network at the codes, not from the encoder.
        cmsr_spec: See `continuous.cmsr`; None to render everything at its own scale.
        input_skip: As in `liif`; "none" for the published model.
    """

    def __init__(
        self,
        encoder_spec: Annotated[dict[str, Any], SpecOf()],
        imnet_spec: Annotated[dict[str, Any], SpecOf("in_dim")],
        hypernet_spec: Annotated[dict[str, Any], SpecOf("in_dim", "out_dim")],
        local_ensemble: bool = True,
        feat_unfold: bool = True,
        cell_decode: bool = True,
        mod_input: bool = False,
        cmsr_spec: dict[str, Any] | None = None,
        input_skip: Literal["none", "bilinear", "bicubic"] = "none",
    ) -> None:
        super().__init__(
            make_encoder(encoder_spec), local_ensemble, cell_decode, mod_input, cmsr_spec
        )
        self.input_skip = input_skip
        self.side = 3 if feat_unfold else 1
        dim, width = self.encoder.out_dim, decoder_width(imnet_spec)
        self.extra_dim = 4 if cell_decode else 2
        self.hypernet, self.imnet = self.make_networks(
            imnet_spec,
            hypernet_spec,
            in_dim=(width if mod_input else dim) + self.extra_dim,
            code_dim=dim * self.side**2 + (2 if cell_decode else 0),
            decoded=width if mod_input else 0,
        )

    def prepare(self, feat: Tensor, inp: Tensor) -> ModulatedLatent:
        """See `ContinuousModel.prepare`; applies the hypernet's first layer to the codes."""
        first = self.hypernet.linears[0]
        weight = first.weight[:, : feat.shape[1] * self.side**2]
        return ModulatedLatent(feat, inp, hidden=of_codes(weight, first.bias, feat, self.side == 3))

    def per_code(self, latent: ModulatedLatent, rel_cell: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Modulated.per_code`; applies the decoder's first layer to the code."""
        x = latent.hidden.permute(0, 2, 3, 1)
        if rel_cell is None:
            x = x.clone()
        else:
            x = x + F.linear(rel_cell, self.hypernet.linears[0].weight[:, -2:])
        made = self.hypernet.rest(x)
        modulation, decoded = made.split(
            [self.imnet.mod_dim, made.shape[-1] - self.imnet.mod_dim], dim=-1
        )
        if not self.mod_input:
            decoded = latent.feat.permute(0, 2, 3, 1)
        return F.linear(decoded, self.imnet.linears[0].weight[:, : -self.extra_dim]), modulation

    def first_layer(self, inputs: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
        """See `Modulated.first_layer`."""
        weight = self.imnet.linears[0].weight[:, -self.extra_dim :].to(inputs.dtype)
        if rel_cell is not None:
            inputs = inputs + F.linear(rel_cell.to(inputs.dtype), weight[:, 2:])
        return F.linear(rel_coord.to(inputs.dtype), weight[:, :2]).add_(inputs)


@register("lmlte")
class LMLTE(Modulated):
    """LTE with a modulated decoder; see `Modulated` and `continuous.lte`.

    Args:
        encoder_spec: The encoder.
        imnet_spec: The decoder of queries, an `lmmlp`; its ``in_dim`` is supplied.
        hypernet_spec: The network at the codes, an `mlp`; ``in_dim`` and ``out_dim`` are supplied.
        hidden_dim: Number of amplitudes, twice that of frequencies.
        local_ensemble: Blend the predictions of the four surrounding codes by area.
        cell_decode: Make phases depend on the size of the queried pixel.
        mod_input: Decode amplitudes and frequencies from the network at the codes, not from the
            encoder.
        cmsr_spec: See `continuous.cmsr`; None to render everything at its own scale.
    """

    input_skip = "bilinear"

    def __init__(
        self,
        encoder_spec: Annotated[dict[str, Any], SpecOf()],
        imnet_spec: Annotated[dict[str, Any], SpecOf("in_dim")],
        hypernet_spec: Annotated[dict[str, Any], SpecOf("in_dim", "out_dim")],
        hidden_dim: PositiveInt = 128,
        local_ensemble: bool = True,
        cell_decode: bool = True,
        mod_input: bool = False,
        cmsr_spec: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            make_encoder(encoder_spec), local_ensemble, cell_decode, mod_input, cmsr_spec
        )
        width = decoder_width(imnet_spec)
        width = width if mod_input else hidden_dim
        if hidden_dim % 2 or width % 2:
            raise ValueError("hidden_dim must be even, here and in imnet_spec")
        self.coef = conv3x3(self.encoder.out_dim, hidden_dim)
        self.freq = conv3x3(self.encoder.out_dim, hidden_dim)
        self.phase = nn.Linear(2, hidden_dim // 2, bias=False)
        decoded = 2 * width if mod_input else 0
        hypernet, imnet = self.make_networks(
            imnet_spec, hypernet_spec, width, code_dim=hidden_dim, decoded=decoded
        )
        # In the published order: optimizers in checkpoints count the parameters.
        self.hypernet = hypernet
        if mod_input:
            self.imphase = nn.Linear(2, width // 2, bias=False)
        self.imnet = imnet

    def prepare(self, feat: Tensor, inp: Tensor) -> ModulatedLatent:
        """See `ContinuousModel.prepare`."""
        return ModulatedLatent(feat, inp, hidden=wave_maps(feat, self.coef, self.freq, ALTERNATING))

    def per_code(self, latent: ModulatedLatent, rel_cell: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Modulated.per_code`; codes give amplitudes, row and column frequencies."""
        inputs = latent.hidden.permute(0, 2, 3, 1)
        phase = None if rel_cell is None else self.phase(rel_cell)
        made = self.hypernet(waves(inputs, inputs.new_ones(2), phase))
        if not self.mod_input:
            return inputs, made
        width = 2 * self.imphase.out_features
        modulation, amplitude, frequency = made.split([self.imnet.mod_dim, width, width], dim=-1)
        rows, cols = (frequency[..., part] for part in ALTERNATING)
        return torch.cat([amplitude, rows, cols], dim=-1), modulation

    def first_layer(self, inputs: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
        """See `Modulated.first_layer`."""
        phase = None
        if rel_cell is not None:
            phase = (self.imphase if self.mod_input else self.phase)(rel_cell)
        return F.linear(waves(inputs, rel_coord, phase), self.imnet.linears[0].weight)
