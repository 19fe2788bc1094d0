"""LIIF: Chen, Liu, Wang, "Learning Continuous Image Representation with Local Implicit Image
Function", CVPR 2021."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

import models
from configs.spec import SpecOf
from models import register
from models.base import ContinuousModel, Latent, NeighbourhoodCodes, blend, corners
from utils import sample_bicubic, sample_bilinear, sample_nearest

INPUT_SKIPS = {"bilinear": sample_bilinear, "bicubic": sample_bicubic}


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
        self.input_skip = INPUT_SKIPS.get(input_skip)
        self.encoder = models.make(encoder_spec)
        if imnet_spec is None:
            self.imnet = None
        else:
            code_dim = self.encoder.out_dim * (9 if feat_unfold else 1)
            in_dim = code_dim + 2 + (2 if cell_decode else 0)
            self.imnet = models.make(imnet_spec, args={"in_dim": in_dim})

    def decode(self, latent: Latent, coord: Tensor, cell: Tensor | None) -> Tensor:
        """See `ContinuousModel.query_rgb`."""
        if self.imnet is None:
            rgb = sample_nearest(latent.feat, coord)
        else:
            rgb = self._decode_codes(latent.feat, coord, cell)
        if self.input_skip is not None:
            rgb = rgb + self.input_skip(latent.inp, coord)
        return rgb

    def _decode_codes(self, feat: Tensor, coord: Tensor, cell: Tensor | None) -> Tensor:
        assert self.imnet is not None
        h, w = feat.shape[-2:]
        extra = []
        if self.cell_decode:
            if cell is None:
                raise ValueError("this model decodes cells: query_rgb needs cell (B, Q, 2)")
            extra.append(cell * cell.new_tensor([h, w]))
        codes = NeighbourhoodCodes(feat, self.feat_unfold)
        predictions, rel_coords = [], []
        for corner in corners(coord, h, w, self.local_ensemble):
            x = [codes.at(corner.row, corner.col), corner.rel_coord, *extra]
            inp = torch.cat([part.to(feat.dtype) for part in x], dim=-1)
            pred = self.imnet(inp.flatten(0, 1)).unflatten(0, coord.shape[:2])
            predictions.append(pred)
            rel_coords.append(corner.rel_coord)
        return blend(predictions, rel_coords)
