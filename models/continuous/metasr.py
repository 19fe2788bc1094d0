"""Meta-SR: Hu et al., "Meta-SR: A Magnification-Arbitrary Network for Super-Resolution", CVPR 2019,
in the form that the LIIF paper compares with."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from configs.spec import SpecOf
from models.base import ContinuousModel, make_encoder
from models.reading.ensemble import EPS
from models.reading.latent import CodeTable, Latent, in_cache
from models.registry import make, register
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
        self.encoder = make_encoder(encoder_spec)
        weights = self.encoder.out_dim * 9 * 3
        mlp = {"name": "mlp", "args": {"in_dim": 3, "out_dim": weights, "hidden_list": [HIDDEN]}}
        self.imnet = make(mlp)

    margin = 1  # the neighbours of the code

    def prepare(self, feat: Tensor, inp: Tensor) -> Latent:
        """See `ContinuousModel.prepare`.

        The matrix is linear in the hidden layer of the mlp, so its product with the unfolded code
        is, too: per code and colour a vector over the hidden units, and a constant. These are a
        3 x 3 convolution of the feature map.
        """
        last = self.imnet.layers[-1]
        channels = feat.shape[1]
        kernel = last.weight.view(channels, 3, 3, 3, HIDDEN)  # channel, row, column, colour, hidden
        kernel = kernel.permute(3, 4, 0, 1, 2).flatten(0, 1)
        constant = last.bias.view(channels, 3, 3, 3).permute(3, 0, 1, 2)
        return Latent(
            feat, inp, CodeTable(F.conv2d(feat, torch.cat([kernel, constant]), padding=1))
        )

    def decode(self, latent: Latent, coord: Tensor, cell: Tensor | None) -> Tensor:
        """See `ContinuousModel.query_rgb`; the cell is not optional."""
        if cell is None:
            raise ValueError("metasr depends on the scale: query_rgb needs cell (B, Q, 2)")
        codes = latent.codes
        assert codes is not None
        h = latent.grid[0]
        index, rel = [], []
        for axis, (n, first) in enumerate(zip(latent.grid, latent.grid_origin, strict=True)):
            corner = coord[..., axis] - cell[..., axis] / 2
            nearest = nearest_index((corner + EPS).clamp(-1 + EPS, 1 - EPS), n)
            centres = pixel_centres(n, dtype=coord.dtype, device=coord.device)
            code_corner = centres[nearest] - 1 / n
            index.append(nearest - first)
            rel.append((corner - code_corner) * (n / 2))
        x = torch.stack([*rel, cell[..., 0] * (h / 2)], dim=-1)

        def predict(index: Tensor, x: Tensor, memory: Tensor | None) -> Tensor:
            found = codes.read(index[0], None if memory is None else memory[0])
            vectors, constant = found.split([3 * HIDDEN, 3], dim=-1)
            hidden = F.relu(self.imnet.linears[0](x[0].to(vectors.dtype))).unsqueeze(-1)
            return (vectors.unflatten(-1, (3, HIDDEN)) @ hidden).squeeze(-1) + constant

        return in_cache(predict, codes, codes.index(*index).unsqueeze(0), x.unsqueeze(0))
