"""Model files of other code, for programs that know `ContinuousModel` only."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from models.base import ContinuousModel
from models.reading.latent import Latent
from queries import Queries


class PublishedModel(ContinuousModel):
    """A model that has ``gen_feat(inp)`` and ``query_rgb(coord, cell)``, as the published code.

    It remembers the last image only, so that one is encoded again that it has forgotten.

    Args:
        model: The module.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.encoder = getattr(model, "encoder", None)
        self.spans_queries = getattr(model, "spans_queries", False)
        self.largest_scale = getattr(model, "largest_scale", None)
        self.remembered: Latent | None = None

    def encode(self, inp: Tensor) -> Latent:
        """See `ContinuousModel.encode`; the feature map stays with the model."""
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
    """The model itself, or one of other code in a `PublishedModel`."""
    return model if isinstance(model, ContinuousModel) else PublishedModel(model)
