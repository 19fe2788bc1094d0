"""The decoder of most continuous models: a plain multilayer perceptron."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from errors import UserError
from models.registry import make_ours, register

Layer = tuple[Tensor, Tensor]

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


@register("mlp")
class MLP(nn.Module):
    """Linear layers with an activation between them.

    Args:
        in_dim: Length of the input vectors.
        out_dim: Length of the output vectors.
        hidden_list: Widths of the hidden layers.
        act: The activation, "relu" or "gelu"; None for no activation.
    """

    def __init__(
        self,
        in_dim: PositiveInt,
        out_dim: PositiveInt,
        hidden_list: list[PositiveInt],
        act: Literal["relu", "gelu"] | None = "relu",
    ) -> None:
        super().__init__()
        self.act = act
        layers: list[nn.Module] = []
        for width in hidden_list:
            layers.append(nn.Linear(in_dim, width))
            if act is not None:
                layers.append(ACTIVATIONS[act]())
            in_dim = width
        self.layers = nn.Sequential(*layers, nn.Linear(in_dim, out_dim))

    @property
    def linears(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    @property
    def weights(self) -> list[Layer]:
        """Weight and bias of each layer."""
        return [(layer.weight, layer.bias) for layer in self.linears]

    def rest(self, x: Tensor) -> Tensor:
        """Apply all but the first layer to its output (N, hidden_list[0]), which is overwritten."""
        for layer in self.layers[1:]:
            x = F.relu_(x) if isinstance(layer, nn.ReLU) else layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Apply all layers: (..., in_dim) -> (..., out_dim)."""
        return self.layers(x)


def make_mlp(spec: dict[str, Any], place: str, **args: int) -> MLP:
    """Make the mlp described by a spec, for a model that uses its layers separately.

    Args:
        place: Where the spec is, for messages.
        args: Arguments that override those of the spec.

    Raises:
        UserError: If the spec describes another decoder.
    """
    made = make_ours(spec, args=args)
    if not isinstance(made, MLP):
        raise UserError(f"{place}: an 'mlp' is needed, got {spec['name']!r}")
    return made
