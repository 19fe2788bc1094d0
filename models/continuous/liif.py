"""LIIF: Chen, Liu, Wang, "Learning Continuous Image Representation with Local Implicit Image
Function", CVPR 2021."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from configs.spec import SpecOf
from models.base import ContinuousModel, given, make_decoder, make_encoder
from models.decoders.mlp import MLP, FoldedRest
from models.reading.ensemble import Predict, blend
from models.reading.latent import CodeTable, Latent, fits_cache
from models.reading.skip import add_input
from models.registry import register
from utils import sample_nearest


@register("liif")
class LIIF(ContinuousModel):
    """The colour at a coordinate, decoded from the nearest latent codes (eq. 1 to 6 of the paper).

    Args:
        encoder_spec: The encoder.
        imnet_spec: The decoding function; it is given its ``in_dim``. Without it the encoder's own
            upsampler makes the image, which is sampled at the nearest pixel.
        local_ensemble: Blend the predictions of the four surrounding codes by area (eq. 4).
        feat_unfold: Concatenate each code with its 3 x 3 neighbours (eq. 3).
        cell_decode: Tell the decoder the size of the queried pixel (eq. 5).
        input_skip: Add an interpolation of the input at the query to the output, so that training
            starts from it; "none" for the published model. Input and target need one normalisation.
    """

    def __init__(
        self,
        encoder_spec: Annotated[dict[str, Any], SpecOf()],
        imnet_spec: Annotated[dict[str, Any] | None, SpecOf("in_dim")] = None,
        local_ensemble: bool = True,
        feat_unfold: bool = True,
        cell_decode: bool = True,
        input_skip: Literal["none", "bilinear", "bicubic"] = "none",
    ) -> None:
        super().__init__()
        self.local_ensemble = local_ensemble
        self.feat_unfold = feat_unfold
        self.cell_decode = cell_decode
        self.input_skip = input_skip
        self.encoder = make_encoder(encoder_spec)
        if imnet_spec is None:
            self.imnet = None
        else:
            code_dim = self.encoder.out_dim * (9 if feat_unfold else 1)
            self.imnet = make_decoder(imnet_spec, code_dim + self._extra_dim)

    margin = 2  # the code of another corner with its neighbours; bicubic reads two pixels

    def prepare(self, feat: Tensor, inp: Tensor) -> Latent:
        """See `ContinuousModel.prepare`; what depends on a code alone is computed here, once.

        The decoder's first layer is linear in [unfolded code, rel_coord, rel_cell], and unfolding
        followed by a linear layer is a 3 x 3 convolution. So that part of the layer is applied to
        the feature map, and neither the unfolded map nor the unfolded codes ever exist.
        """
        if self.imnet is None:
            return Latent(feat, inp)
        if not self._factors:
            return Latent(feat, inp, CodeTable(feat, self.feat_unfold))
        first = self.imnet.linears[0]
        side = 3 if self.feat_unfold else 1
        kernel = first.weight[:, : -self._extra_dim].unflatten(1, (feat.shape[1], side, side))
        return Latent(feat, inp, CodeTable(F.conv2d(feat, kernel, first.bias, padding=side // 2)))

    def decode(self, latent: Latent, coord: Tensor, cell: Tensor | None) -> Tensor:
        """See `ContinuousModel.query_rgb`."""
        if self.imnet is None:
            rgb = sample_nearest(latent.feat, coord, latent.grid, latent.grid_origin)
        else:
            rgb = self._decode_codes(latent, coord, cell)
        return add_input(rgb, latent, coord, self.input_skip)

    def _decode_codes(self, latent: Latent, coord: Tensor, cell: Tensor | None) -> Tensor:
        codes = latent.codes
        assert codes is not None
        predict = self._factored(codes) if self._factors else self._plain(codes)
        cell = given(cell) if self.cell_decode else None
        return blend(predict, latent, coord, cell, self.local_ensemble)

    def _plain(self, codes: CodeTable) -> Predict:
        """Of any decoder: its input is written out."""
        assert self.imnet is not None
        imnet = self.imnet

        def predict(index: Tensor, rel: Tensor, cell: Tensor | None, _: Tensor | None) -> Tensor:
            found = codes.read(index).unsqueeze(-2)
            x = torch.cat([found, place(rel, cell).to(found.dtype)], dim=-1)
            return imnet(x.flatten(0, -2)).unflatten(0, rel.shape[:-1])

        return predict

    def _factored(self, codes: CodeTable) -> Predict:
        """Of a decoder whose first layer has been applied to the codes already."""
        assert isinstance(self.imnet, MLP)
        imnet = self.imnet
        weight = imnet.linears[0].weight[:, -self._extra_dim :].to(codes.rows.dtype).T.contiguous()
        folds = imnet.act == "relu" and fits_cache(codes)
        folded = FoldedRest(imnet.weights) if folds else None

        def predict(
            index: Tensor, rel: Tensor, cell: Tensor | None, memory: Tensor | None
        ) -> Tensor:
            flat_place = place(rel, cell).flatten(0, -2).to(weight.dtype)
            if folded is None or memory is None:
                found = codes.read(index).flatten(0, -2)
                rgb = imnet.rest(torch.addmm(found, flat_place, weight))
            else:
                first, spare = memory[:, : index.numel()]
                found = codes.read(index, first).flatten(0, -2)
                rgb = folded(found.addmm_(flat_place, weight), spare)
            return rgb.unflatten(0, rel.shape[:-1])

        return predict

    @property
    def _extra_dim(self) -> int:
        return 4 if self.cell_decode else 2

    @property
    def _factors(self) -> bool:
        return isinstance(self.imnet, MLP) and len(self.imnet.layers) > 1


def place(rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
    """What a decoder is told besides the code: (..., 2), or with a cell (..., 4)."""
    if rel_cell is None:
        return rel_coord
    return torch.cat([rel_coord, rel_cell.expand_as(rel_coord)], dim=-1)
