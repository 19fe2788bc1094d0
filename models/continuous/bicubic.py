"""Bicubic interpolation, the baseline that every table starts with."""

from __future__ import annotations

from torch import Tensor, nn

from models.base import ContinuousModel
from models.reading.latent import Latent
from models.registry import register
from queries import Queries
from utils import sample_bicubic


@register("bicubic")
class Bicubic(ContinuousModel):
    """Bicubic interpolation of the input, with the kernel of Pillow and MATLAB; no parameters."""

    margin = 2

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()

    def decode(self, latent: Latent, queries: Queries) -> Tensor:
        """See `ContinuousModel.decode`; the cell is not used."""
        place = latent.whole, latent.origin, queries.fast_axes
        return sample_bicubic(latent.inp, queries.coord, *place)
