"""Meta-SR, a model that predicts a matrix per query, in the form the LIIF paper compares with.

Source: Hu et al., "Meta-SR: A Magnification-Arbitrary Network for Super-Resolution", CVPR 2019.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from configs.spec import SpecOf
from models.base import ContinuousModel, make_encoder
from models.decoders.mlp import MLP
from models.reading.codes import CodeTable, of_codes
from models.reading.latent import CodeLatent
from models.registry import register
from queries import Queries

HIDDEN = 256


@register("metasr")
class MetaSR(ContinuousModel):
    """A matrix per query, predicted from its offset to a code, times the unfolded code.

    Coordinates and codes are at the top left corners of their pixels. The mlp maps (rel_coord,
    cell_row h/2) to a matrix of 9C x 3.

    Args:
        encoder_spec: The encoder.
    """

    margin = 1  # the neighbours of the code

    def __init__(self, encoder_spec: Annotated[dict[str, Any], SpecOf()]) -> None:
        super().__init__()
        self.encoder = make_encoder(encoder_spec)
        self.imnet = MLP(3, self.encoder.out_dim * 9 * 3, [HIDDEN])

    def prepare(self, feat: Tensor, inp: Tensor) -> CodeLatent:
        """See `ContinuousModel.prepare`.

        The matrix is linear in the hidden layer of the mlp, so its product with the unfolded code
        is too: a vector over the hidden units and a constant, per code and colour. Both are linear
        in the unfolded code.
        """
        last = self.imnet.linears[-1]
        vectors = last.weight.view(-1, 3, HIDDEN).permute(1, 2, 0).flatten(0, 1)
        constant = last.bias.view(-1, 3).T
        table = of_codes(torch.cat([vectors, constant]), None, feat, unfold=True)
        return CodeLatent(feat, inp, codes=CodeTable(table))

    def decode(self, latent: CodeLatent, queries: Queries) -> Tensor:
        """See `ContinuousModel.decode`; the cell is required."""
        cell = queries.required_cell
        corner = queries.coord - cell / 2
        size = corner.new_tensor(latent.grid)

        def inputs(v: Tensor) -> Tensor:
            rel_coord = (corner - (v - 1 / size)) * (size / 2)
            return torch.cat([rel_coord, cell[..., :1] * (size[0] / 2)], dim=-1)

        def f(z: Tensor, inputs: Tensor) -> Tensor:
            vectors, constant = z.split([3 * HIDDEN, 3], dim=-1)
            hidden = F.relu(self.imnet.linears[0](inputs.to(z.dtype))).unsqueeze(-1)
            return (vectors.unflatten(-1, (3, HIDDEN)) @ hidden).squeeze(-1) + constant

        return latent.at_nearest(f, corner, inputs)
