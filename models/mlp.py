"""The decoding function of most continuous models: a plain multilayer perceptron."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from models import register


@register("mlp")
class MLP(nn.Module):
    """Linear and ReLU in turn, the last layer linear.

    Args:
        in_dim: Length of the input vectors.
        out_dim: Length of the output vectors.
        hidden_list: Widths of the hidden layers.
    """

    def __init__(
        self, in_dim: PositiveInt, out_dim: PositiveInt, hidden_list: list[PositiveInt]
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden_list:
            layers += [nn.Linear(in_dim, width), nn.ReLU()]
            in_dim = width
        self.layers = nn.Sequential(*layers, nn.Linear(in_dim, out_dim))

    @property
    def first(self) -> nn.Linear:
        return self.layers[0]  # type: ignore[return-value]

    def rest(self, x: Tensor, spare: Tensor | None = None) -> Tensor:
        """All but the first layer, overwriting x.

        Args:
            x: Output of the first layer (N, hidden_list[0]).
            spare: Memory of x's shape, if no gradients are needed: layers of that width then write
                to it and to x in turn, which stay in the cache.

        Returns:
            (N, out_dim).
        """
        for layer in self.layers[1:]:
            if isinstance(layer, nn.ReLU):
                x = F.relu_(x)
            elif (
                isinstance(layer, nn.Linear)
                and spare is not None
                and spare.shape[1] == layer.out_features
            ):
                x, spare = torch.addmm(layer.bias, x, layer.weight.T, out=spare), x
            else:
                x = layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_dim) -> (..., out_dim)."""
        return self.layers(x)
