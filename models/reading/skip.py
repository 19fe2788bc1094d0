"""Add the input, interpolated at the queries, to what is decoded."""

from __future__ import annotations

from torch import Tensor

from errors import UserError
from models.reading.latent import Latent
from queries import Queries
from utils import sample_bicubic, sample_bilinear

# Interpolations of the input that are added to the output, by name.
INPUT_SKIPS = {"bilinear": sample_bilinear, "bicubic": sample_bicubic}


class ChannelsError(UserError):
    """The error of a model that outputs other channels than its images have.

    Attributes:
        given: Number of channels the model outputs.
    """

    def __init__(self, given: int, wanted: int) -> None:
        super().__init__(
            f"the model gives {given} channels where {wanted} are wanted: out_dim of its decoder "
            "and channels of the dataset must agree; without a decoder the encoder needs its "
            "upsampler"
        )
        self.given = given


def add_input(rgb: Tensor, latent: Latent, queries: Queries, kind: str) -> Tensor:
    """Add an interpolation of the input to colours (B, Q, 3): one of `INPUT_SKIPS`, or "none".

    Raises:
        ChannelsError: If the two have different numbers of channels.
    """
    if kind == "none":
        return rgb
    if rgb.shape[-1] != latent.inp.shape[1]:
        raise ChannelsError(rgb.shape[-1], latent.inp.shape[1])
    place = latent.whole, latent.origin, queries.fast_axes
    return rgb + INPUT_SKIPS[kind](latent.inp, queries.coord, *place)
