"""A choice between degradations."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, NonNegativeFloat

from configs.spec import SpecsOf
from datasets.degradations import degraded, make_all, register, registry
from datasets.degradations.base import Degradation, Probability
from errors import UserError


@register("one-of")
class OneOf(Degradation):
    """A random choice of one of several lists of degradations.

    Args:
        choices: Lists of degradations; an empty one does nothing.
        weights: Relative frequency of each; None for equal ones.
        p: Probability that one is drawn.

    Raises:
        UserError: If the number of weights is not that of choices, or all are 0.
    """

    def __init__(
        self,
        choices: Annotated[list[list[Any]], Field(min_length=1), SpecsOf(registry)],
        weights: list[NonNegativeFloat] | None = None,
        p: Probability = 1,
    ) -> None:
        super().__init__(p)
        if weights is not None and len(weights) != len(choices):
            raise UserError(f"one-of: {len(weights)} weights for {len(choices)} choices")
        if weights is not None and sum(weights) == 0:
            raise UserError("one-of: the weights are all 0")
        self.choices = [make_all(specs) for specs in choices]
        ends = np.cumsum([1.0] * len(choices) if weights is None else weights)
        self.ends = ends / ends[-1]

    def apply(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        choice = int(np.searchsorted(self.ends, rng.random(), side="right"))
        return degraded(pixels, self.choices[choice], rng)
