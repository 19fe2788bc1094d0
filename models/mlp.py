"""The decoding function of most continuous models: a plain multilayer perceptron."""

from __future__ import annotations

import torch.nn.functional as F
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

    def __init__(self, in_dim: int, out_dim: int, hidden_list: list[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden_list:
            layers += [nn.Linear(in_dim, width), nn.ReLU()]
            in_dim = width
        self.layers = nn.Sequential(*layers, nn.Linear(in_dim, out_dim))

    @property
    def first(self) -> nn.Linear:
        return self.layers[0]  # type: ignore[return-value]

    def rest(self, x: Tensor) -> Tensor:
        """All but the first layer: (..., hidden_list[0]) -> (..., out_dim); overwrites x."""
        for layer in self.layers[1:]:
            x = F.relu_(x) if isinstance(layer, nn.ReLU) else layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_dim) -> (..., out_dim)."""
        return self.layers(x)
