"""LIIF, a model that decodes colours at any coordinate from the nearest latent codes.

Source: Chen, Liu, Wang, "Learning Continuous Image Representation with Local Implicit Image
Function", CVPR 2021.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from torch import Tensor

from configs.spec import SpecOf
from models.base import ContinuousModel, make_decoder, make_encoder
from models.reading.decoder import CodeDecoder, code_decoder
from models.reading.ensemble import blend
from models.reading.latent import CodeLatent, Latent
from models.registry import register
from queries import Queries
from utils import sample_nearest


@register("liif")
class LIIF(ContinuousModel):
    """The colour at a coordinate, decoded from the nearest latent codes (eq. 1 to 6 of the paper).

    Args:
        encoder_spec: The encoder.
        imnet_spec: The decoder; its ``in_dim`` is supplied. Without it the encoder's own upsampler
            makes the image, which is sampled at the nearest pixel.
        local_ensemble: Blend the predictions of the four surrounding codes by area (eq. 4).
        feat_unfold: Concatenate each code with its 3 x 3 neighbours (eq. 3).
        cell_decode: Give the decoder the size of the queried pixel (eq. 5).
        input_skip: Add an interpolation of the input at the query to the output, so that training
            starts from it; "none" for the published model. Input and target must then have the
            same normalisation.
    """

    margin = 2  # the code of another corner with its neighbours; bicubic reads two pixels

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
            self.imnet = make_decoder(imnet_spec, code_dim + self.rel_dim)

    def prepare(self, feat: Tensor, inp: Tensor) -> Latent:
        """See `ContinuousModel.prepare`."""
        latent = Latent(feat, inp)
        return latent if self.imnet is None else latent.with_codes(self.f.table(feat))

    def decode(self, latent: Latent, queries: Queries) -> Tensor:
        """Blend the predictions f(z, x - v, c) of the codes z around x, by area (eq. 4)."""
        if self.imnet is None:
            rgb = sample_nearest(latent.feat, queries.coord, latent.grid, latent.grid_origin)
        else:
            assert isinstance(latent, CodeLatent)
            queries = queries.with_cell(self.cell_decode)
            rgb = blend(self.f, latent, queries, self.local_ensemble)
        return latent.add_input(rgb, queries, self.input_skip)

    @property
    def f(self) -> CodeDecoder:
        """The function imnet([z, rel_coord, rel_cell]), with z unfolded (eq. 3), a cell (eq. 5)."""
        return code_decoder(self.imnet, self.rel_dim, self.feat_unfold)

    @property
    def rel_dim(self) -> int:
        """Number of the decoder's inputs besides the code."""
        return 4 if self.cell_decode else 2
