"""Functions f(z, rel_coord, rel_cell) of a network, in forms that are fast in inference.

The part that depends on a code alone is computed once per image, and layers write to memory that
is already in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.decoders.mlp import MLP, Layer
from models.reading.codes import CodeTable, of_codes

# The layers of an mlp with ReLU, or some other module.
Decoder = Sequence[Layer] | nn.Module


def apply_layers(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """Apply linear layers with ReLU between them: (N, in_dim) -> (N, out_dim)."""
    *hidden, last = layers
    for weight, bias in hidden:
        x = F.relu_(F.linear(x, weight, bias))
    return F.linear(x, *last)


def apply_decoder(decoder: Decoder, x: Tensor) -> Tensor:
    """Apply a decoder to vectors: (N, in_dim) -> (N, out_dim)."""
    return decoder(x) if isinstance(decoder, nn.Module) else apply_layers(decoder, x)


class FoldedRest:
    """`MLP.rest` with ReLU, for inference on a CPU, in few passes over the activations.

    Since relu(y + b) = max(y, -b) + b, a layer's bias can be added after its ReLU, where it
    becomes part of the next layer's bias. So a hidden layer is a plain matrix product and a
    maximum, both written to memory that is already in the cache.

    Args:
        layers: Weight (out, in) and bias of each layer, including the first; two or more.
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
            spare: Memory of x's shape; layers of that width alternate between writing to it and x.
        """
        x = F.relu_(x)
        for weight, floor in self.hidden:
            if weight.shape[0] == weight.shape[1] == spare.shape[1]:
                x, spare = torch.mm(x, weight, out=spare), x
            else:
                x = x @ weight
            torch.maximum(x, floor, out=x)
        return torch.addmm(self.shift, x, self.weight)


class CodeFunction:
    """A function f(z, rel_coord, rel_cell) that has a second form for inference in the cache."""

    def __call__(self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
        """Compute colours (..., S, 3) from codes z (..., 1, C), each for S queries.

        Args:
            rel_coord: (..., S, 2).
            rel_cell: (..., 1, 2).
        """
        raise NotImplementedError

    def in_place(
        self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None, spare: Tensor
    ) -> Tensor:
        """Do the same, but possibly overwrite the codes and the spare memory (rows, channels)."""
        return self(z, rel_coord, rel_cell)


class CodeDecoder(CodeFunction):
    """A plain decoder that applies any network to [z, rel_coord, rel_cell].

    Args:
        imnet: Network that maps (N, in_dim) to (N, 3).
        rel_dim: Number of its inputs besides the code.
        unfold: Whether it sees each code with its 3 x 3 neighbours.
    """

    def __init__(self, imnet: Any, rel_dim: int, unfold: bool) -> None:
        self.imnet, self.rel_dim, self.unfold = imnet, rel_dim, unfold

    def table(self, feat: Tensor) -> CodeTable:
        """Make the table that z is read from, for a feature map (B, C, h, w)."""
        return CodeTable(feat, self.unfold)

    def __call__(self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
        x = torch.cat([z, rel_inputs(rel_coord, rel_cell).to(z.dtype)], dim=-1)
        return self.imnet(x.flatten(0, -2)).unflatten(0, rel_coord.shape[:-1])


class FactoredDecoder(CodeDecoder):
    """The same for an mlp; here z is the code after its share of the first layer, with bias."""

    imnet: MLP

    def table(self, feat: Tensor) -> CodeTable:
        """See `CodeDecoder.table`."""
        first = self.imnet.linears[0]
        return CodeTable(of_codes(first.weight[:, : -self.rel_dim], first.bias, feat, self.unfold))

    def __call__(self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
        at = rel_inputs(rel_coord, rel_cell).flatten(0, -2).to(z.dtype)
        x = torch.addmm(z.flatten(0, -2), at, self._rel_weight(z.dtype))
        return self.imnet.rest(x).unflatten(0, rel_coord.shape[:-1])

    def in_place(
        self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None, spare: Tensor
    ) -> Tensor:
        """See `CodeFunction.in_place`; for ReLU only."""
        if self.imnet.act != "relu":
            return self(z, rel_coord, rel_cell)
        at, x = rel_inputs(rel_coord, rel_cell).flatten(0, -2).to(z.dtype), z.flatten(0, -2)
        x = x.addmm_(at, self._rel_weight(z.dtype))
        return self._folded(x, spare[: len(x)]).unflatten(0, rel_coord.shape[:-1])

    def _rel_weight(self, dtype: torch.dtype) -> Tensor:
        return self.imnet.linears[0].weight[:, -self.rel_dim :].to(dtype).T.contiguous()

    @cached_property
    def _folded(self) -> FoldedRest:
        return FoldedRest(self.imnet.weights)


def code_decoder(imnet: Any, rel_dim: int, unfold: bool) -> CodeDecoder:
    """Make the fastest decoder for a network and its current weights; see `CodeDecoder`."""
    factors = isinstance(imnet, MLP) and len(imnet.layers) > 1
    return (FactoredDecoder if factors else CodeDecoder)(imnet, rel_dim, unfold)


def rel_inputs(rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
    """Join the inputs of a decoder besides the code: (..., 2), or with a cell (..., 4)."""
    if rel_cell is None:
        return rel_coord
    return torch.cat([rel_coord, rel_cell.expand_as(rel_coord)], dim=-1)
