"""The base of the LM models: decoders so narrow that a query is cheap, modulated by a code.

Source: see `continuous.lmf`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from errors import UserError
from models.base import AllQueries, ContinuousModel
from models.continuous.cmsr import (
    LEAST_SCALE,
    TRAINED_SCALE,
    compose,
    levels,
    parse_cmsr,
    scale_of,
)
from models.decoders.lmmlp import ModulatedMLP
from models.decoders.mlp import MLP, make_mlp
from models.reading import amounts
from models.reading.codes import CodeTable
from models.reading.ensemble import blend
from models.reading.latent import ModulatedLatent
from models.registry import make_ours
from queries import Queries
from utils import in_inference, is_recorded, sample_bilinear


class Modulated(ContinuousModel):
    """A model with a network applied once per code that modulates the decoder of queries.

    That network takes the size of the queried pixels. In an image or a training sample all pixels
    have one size. If sizes differ, code p gets that of query p, as published, and codes beyond the
    last query get that of the last; results then depend on which queries are decoded together.

    Args:
        encoder: The encoder, already made.
        local_ensemble: Blend the predictions of the four surrounding codes by area.
        cell_decode: Give both networks the size of the queried pixel.
        mod_input: Decode features from the network at the codes, not from the encoder.
        cmsr_spec: Render smooth parts of large pictures at smaller scales (`cmsr`). The image is
            then always encoded whole.
    """

    margin: int | None = 2  # the code of another corner, which was made from its neighbours
    one_cell = True
    rendered = amounts.RENDERED_NARROW
    largest_scale = TRAINED_SCALE
    input_skip: str
    hypernet: MLP
    imnet: ModulatedMLP

    def __init__(
        self,
        encoder: Any,
        local_ensemble: bool,
        cell_decode: bool,
        mod_input: bool,
        cmsr_spec: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.local_ensemble = local_ensemble
        self.cell_decode = cell_decode
        self.mod_input = mod_input
        self.cmsr = None if cmsr_spec is None else parse_cmsr(cmsr_spec)
        if self.cmsr is not None:
            self.margin, self.spans_queries = None, True

    def make_networks(
        self,
        imnet_spec: dict[str, Any],
        hypernet_spec: dict[str, Any],
        in_dim: int,
        code_dim: int,
        decoded: int,
    ) -> tuple[MLP, Any]:
        """Make the networks that become ``hypernet`` and ``imnet``.

        Args:
            in_dim: Number of the decoder's inputs per query.
            code_dim: Number of inputs per code of the network at the codes.
            decoded: Number of that network's outputs besides the modulation.
        """
        imnet = make_ours(imnet_spec, args={"in_dim": in_dim})
        made = imnet.mod_dim + decoded
        hypernet = make_mlp(hypernet_spec, "hypernet_spec", in_dim=code_dim, out_dim=made)
        return hypernet, imnet

    def per_code(self, latent: ModulatedLatent, rel_cell: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute each code's modulation (B, h, w, mod_dim) and input to `first_layer`.

        The input (B, h, w, L) comes first.

        Args:
            rel_cell: (B, h or 1, w or 1, 2), in units of half a code's side.
        """
        raise NotImplementedError

    def first_layer(self, inputs: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
        """Apply the decoder's first layer, without bias, to S queries of each code.

        The result is (..., S, hidden_dim).

        Args:
            inputs: (..., 1, L).
            rel_coord: (..., S, 2).
            rel_cell: (..., 1, 2), if cells are decoded.
        """
        raise NotImplementedError

    def decode(self, latent: ModulatedLatent, queries: Queries) -> Tensor:
        """See `ContinuousModel.decode`."""
        queries = queries.with_cell(self.cell_decode)
        if self.cmsr is not None and not (self.training or is_recorded()):
            if latent.context is None:
                latent = replace(latent, context=self.summarise(lambda: [(latent, queries)]))
            if latent.context:
                return sample_bilinear(latent.context[0], queries.coord, axes=queries.fast_axes)
        return self.render(latent, self._codes(latent, queries), queries)

    def summarise(self, queries: AllQueries) -> tuple[Tensor, ...]:
        """See `ContinuousModel.summarise`; gives the picture, if composed of several scales."""
        assert self.cmsr is not None
        latent, some = next(iter(queries()))
        (h, w), size = latent.grid, some.picture
        if size is None or size[0] * size[1] <= LEAST_SCALE**2 * h * w:
            return ()
        steps = levels(self.cmsr.s2m_tables, scale_of(size, (h, w)))
        pictures = []
        for number in range(len(latent.feat)):
            item = latent.item(number)
            cell = some.with_cell(self.cell_decode).cell
            own = None if cell is None else cell[number : number + 1, :1]
            codes, strength = self.modulate(item, own)
            render = partial(self.render, item, codes)
            pictures.append(compose(item.inp, strength, steps, size, render))
        return (torch.cat(pictures),)

    def render(self, latent: ModulatedLatent, codes: CodeTable, queries: Queries) -> Tensor:
        """Compute the colours (B, Q, 3) of queries whose codes have been modulated."""
        queries = queries.with_cell(self.cell_decode)
        affine = self.imnet.hidden_depth * self.imnet.hidden_dim
        widths = [codes.channels - 2 * affine, affine, affine]

        def f(z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
            inputs, factor, offset = z.split(widths, dim=-1)
            x = self.first_layer(inputs, rel_coord, rel_cell)
            return self.imnet.modulated(x, factor, offset)

        rgb = blend(
            f,
            latent.with_codes(codes),
            queries,
            self.local_ensemble,
            width=self.imnet.hidden_dim,
        )
        return latent.add_input(rgb, queries, self.input_skip)

    def _codes(self, latent: ModulatedLatent, queries: Queries) -> CodeTable:
        """Make the table that decoding reads, or reuse it for queries with the same cell."""
        cell = queries.cell
        if in_inference() and queries.one_cell:
            cell = None if cell is None else cell[:, :1]
            key = () if cell is None else tuple(cell.flatten().tolist())
            return latent.memo.get(key, lambda: self.modulate(latent, cell)[0])
        return self.modulate(latent, cell)[0]

    def modulate(self, latent: ModulatedLatent, cell: Tensor | None) -> tuple[CodeTable, Tensor]:
        """Make the table that decoding reads, and each code's mean absolute shift, (B, 1, h, w)."""
        inputs, modulation = self.per_code(latent, None if cell is None else latent.cells(cell))
        table = torch.cat([inputs, *self.imnet.affine(modulation)], dim=-1)
        strength = modulation[..., self.imnet.mod_dim // 2 :].abs().mean(-1)
        return CodeTable(table.permute(0, 3, 1, 2)), strength.unsqueeze(1)


def decoder_width(imnet_spec: dict[str, Any]) -> int:
    """Return the width of a decoder's hidden layers.

    Raises:
        UserError: If the decoder is not an `lmmlp`.
    """
    if imnet_spec["name"] != "lmmlp":
        raise UserError(f"imnet_spec: an 'lmmlp' is needed, got {imnet_spec['name']!r}")
    return imnet_spec["args"]["hidden_dim"]
