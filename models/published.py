"""An adapter for model files of other code, for programs that only know `ContinuousModel`."""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor, nn

from models.base import ContinuousModel
from models.reading import amounts
from models.reading.latent import Latent
from queries import Queries


class PublishedModel(ContinuousModel):
    """A wrapped model with ``gen_feat(inp)`` and ``query_rgb(coord, cell)``, like published code.

    Such a model remembers only the last image, whoever encoded it. So latents are for use at once;
    if this wrapper has encoded another image since, that of the latent is encoded again.

    Args:
        model: The module to wrap. If it has ``spans_queries``, all queries are passed at once.
    """

    rendered_on_cuda = amounts.RENDERED  # as in the published code
    keeps_latents = False

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.encoder = getattr(model, "encoder", None)
        if getattr(model, "spans_queries", False):
            self.rendered = self.rendered_on_cuda = sys.maxsize
        self.largest_scale = getattr(model, "largest_scale", None)
        self.remembered: Latent | None = None

    def encode(self, inp: Tensor) -> Latent:
        """See `ContinuousModel.encode`; the feature map stays in the model."""
        self.model.gen_feat(inp)
        self.remembered = Latent(inp, inp)
        return self.remembered

    def decode(self, latent: Latent, queries: Queries) -> Tensor:
        """See `ContinuousModel.decode`."""
        if latent is not self.remembered:
            self.model.gen_feat(latent.inp)
            self.remembered = latent
        return self.model.query_rgb(queries.coord, queries.cell)


def as_continuous(model: nn.Module) -> ContinuousModel:
    """Return the model itself, or wrap one from other code in a `PublishedModel`."""
    return model if isinstance(model, ContinuousModel) else PublishedModel(model)


def is_continuous(model: Any) -> bool:
    """Tell whether a model has the methods of a continuous one: ``gen_feat``, ``query_rgb``."""
    return callable(getattr(model, "gen_feat", None)) and callable(
        getattr(model, "query_rgb", None)
    )
