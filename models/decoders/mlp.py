"""The decoding function of most continuous models: a plain multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from errors import UserError
from models.registry import make, register

Layer = tuple[Tensor, Tensor]

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


@register("mlp")
class MLP(nn.Module):
    """Linear layers with an activation between them.

    Args:
        in_dim: Length of the input vectors.
        out_dim: Length of the output vectors.
        hidden_list: Widths of the hidden layers.
        act: The activation, "relu" or "gelu"; none if None.
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
        """All but the first layer, from its output (N, hidden_list[0]), which is overwritten."""
        for layer in self.layers[1:]:
            x = F.relu_(x) if isinstance(layer, nn.ReLU) else layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_dim) -> (..., out_dim)."""
        return self.layers(x)


def make_mlp(spec: dict[str, Any], place: str, **args: int) -> MLP:
    """The mlp of a spec, for a model that takes it apart.

    Args:
        place: Of the spec, for messages.
        args: Merged over those of the spec.

    Raises:
        UserError: If it is another decoder.
    """
    made = make(spec, args=args)
    if not isinstance(made, MLP):
        raise UserError(f"{place}: an 'mlp' is needed, got {spec['name']!r}")
    return made


def apply_layers(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """Linear layers with ReLU between them: (N, in_dim) -> (N, out_dim)."""
    *hidden, last = layers
    for weight, bias in hidden:
        x = F.relu_(F.linear(x, weight, bias))
    return F.linear(x, *last)


class FoldedRest:
    """`MLP.rest` with ReLU, for inference on a CPU, in few passes over the activations.

    Since relu(y + b) = max(y, -b) + b, a layer's bias can be added behind its ReLU, where it
    becomes a part of the next layer's bias. So a hidden layer is a plain matrix product and a
    maximum, both written to memory that is in the cache already.

    Args:
        layers: Weight (out, in) and bias of each layer, the first one included; two or more.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        _, *rest = layers
        shift = rest[0][0].new_zeros(rest[0][0].shape[1])
        self.hidden: list[tuple[Tensor, Tensor]] = []
        for weight, bias in rest:
            self.weight = weight.T.contiguous()
            shift = torch.addmv(bias, weight, shift)
            self.hidden.append((self.weight, -shift))
        self.hidden.pop()
        self.shift = shift

    def __call__(self, x: Tensor, spare: Tensor) -> Tensor:
        """See `MLP.rest`.

        Args:
            spare: Memory of x's shape; layers of that width write to it and to x in turn.
        """
        x = F.relu_(x)
        for weight, floor in self.hidden:
            if weight.shape[0] == weight.shape[1] == spare.shape[1]:
                x, spare = torch.mm(x, weight, out=spare), x
            else:
                x = x @ weight
            torch.maximum(x, floor, out=x)
        return torch.addmm(self.shift, x, self.weight)
