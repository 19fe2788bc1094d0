"""Meta-SR: Hu et al., "Meta-SR: A Magnification-Arbitrary Network for Super-Resolution", CVPR 2019,
in the form that the LIIF paper compares with."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

import models
from configs.spec import SpecOf
from models import register
from models.base import EPS, ContinuousModel, Latent, NeighbourhoodCodes
from utils import nearest_index, pixel_centres

HIDDEN = 256


@register("metasr")
class MetaSR(ContinuousModel):
    """A matrix per query, predicted from its place between codes, times the unfolded code.

    Coordinates and codes are at the top left corners of their pixels. The mlp maps (rel_coord,
    cell_row h/2) to a matrix of 9C x 3.

    Args:
        encoder_spec: The encoder.
    """

    def __init__(self, encoder_spec: Annotated[dict[str, Any], SpecOf()]) -> None:
        super().__init__()
        self.encoder = models.make(encoder_spec)
        weights = self.encoder.out_dim * 9 * 3
        mlp = {"name": "mlp", "args": {"in_dim": 3, "out_dim": weights, "hidden_list": [HIDDEN]}}
        self.imnet = models.make(mlp)

    def decode(self, latent: Latent, coord: Tensor, cell: Tensor | None) -> Tensor:
        """See `ContinuousModel.query_rgb`; the cell is not optional."""
        if cell is None:
            raise ValueError("metasr depends on the scale: query_rgb needs cell (B, Q, 2)")
        feat = latent.feat
        index, rel = [], []
        for axis, n in enumerate(feat.shape[-2:]):
            corner = coord[..., axis] - cell[..., axis] / 2
            nearest = nearest_index((corner + EPS).clamp(-1 + EPS, 1 - EPS), n)
            centres = pixel_centres(n, dtype=coord.dtype, device=coord.device)
            code_corner = centres[nearest] - 1 / n
            index.append(nearest)
            rel.append((corner - code_corner) * (n / 2))
        inverse_scale = cell[..., 0] * (feat.shape[-2] / 2)
        x = torch.stack([*rel, inverse_scale], dim=-1).to(feat.dtype)
        codes = NeighbourhoodCodes(feat, unfold=True).at(*index)
        matrix = self.imnet(x.flatten(0, 1)).view(-1, codes.shape[-1], 3)
        return torch.bmm(codes.flatten(0, 1).unsqueeze(1), matrix).view(*coord.shape[:2], 3)
