"""Fast forms of decoders in inference, which write to memory that is in the cache already."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.decoders.mlp import Layer

# The layers of an mlp with ReLU, or some other module.
Decoder = Sequence[Layer] | nn.Module


def apply_layers(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """Linear layers with ReLU between them: (N, in_dim) -> (N, out_dim)."""
    *hidden, last = layers
    for weight, bias in hidden:
        x = F.relu_(F.linear(x, weight, bias))
    return F.linear(x, *last)


def apply_decoder(decoder: Decoder, x: Tensor) -> Tensor:
    """A decoder of vectors: (N, in_dim) -> (N, out_dim)."""
    return decoder(x) if isinstance(decoder, nn.Module) else apply_layers(decoder, x)


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
