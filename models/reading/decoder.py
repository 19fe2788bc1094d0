"""The function f(z, rel_coord, rel_cell) of a network, with what depends on a code alone computed
once per image."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from models.decoders.mlp import MLP
from models.reading.codes import CodeTable, of_codes
from models.reading.folded import FoldedRest


class CodeFunction:
    """A function f of codes and places that has a second form for inference in the cache."""

    def __call__(self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
        """Colours (..., S, 3) from codes z (..., 1, C), each for S queries.

        Args:
            rel_coord: (..., S, 2).
            rel_cell: (..., 1, 2).
        """
        raise NotImplementedError

    def in_place(
        self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None, spare: Tensor
    ) -> Tensor:
        """The same, which may overwrite the codes and the spare memory (rows, channels)."""
        return self(z, rel_coord, rel_cell)


class CodeDecoder(CodeFunction):
    """The network applied to [z, rel_coord, rel_cell], written out: for any network.

    Args:
        imnet: (N, in_dim) to (N, 3).
        places: How many numbers it is given besides the code.
        unfold: It sees each code with its 3 x 3 neighbours.
    """

    def __init__(self, imnet: Any, places: int, unfold: bool) -> None:
        self.imnet, self.places, self.unfold = imnet, places, unfold

    def table(self, feat: Tensor) -> CodeTable:
        """What z is read from, of a feature map (B, C, h, w)."""
        return CodeTable(feat, self.unfold)

    def __call__(self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
        x = torch.cat([z, place(rel_coord, rel_cell).to(z.dtype)], dim=-1)
        return self.imnet(x.flatten(0, -2)).unflatten(0, rel_coord.shape[:-1])


class FactoredDecoder(CodeDecoder):
    """The same of an mlp, where z is what its first layer makes of the code, with the bias."""

    imnet: MLP

    def table(self, feat: Tensor) -> CodeTable:
        """See `CodeDecoder.table`."""
        first = self.imnet.linears[0]
        return CodeTable(of_codes(first.weight[:, : -self.places], first.bias, feat, self.unfold))

    def __call__(self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
        at = place(rel_coord, rel_cell).flatten(0, -2).to(z.dtype)
        x = torch.addmm(z.flatten(0, -2), at, self._of_places(z.dtype))
        return self.imnet.rest(x).unflatten(0, rel_coord.shape[:-1])

    def in_place(
        self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None, spare: Tensor
    ) -> Tensor:
        """See `CodeFunction.in_place`; for ReLU only."""
        if self.imnet.act != "relu":
            return self(z, rel_coord, rel_cell)
        at, x = place(rel_coord, rel_cell).flatten(0, -2).to(z.dtype), z.flatten(0, -2)
        x = x.addmm_(at, self._of_places(z.dtype))
        return self._folded(x, spare[: len(x)]).unflatten(0, rel_coord.shape[:-1])

    def _of_places(self, dtype: torch.dtype) -> Tensor:
        return self.imnet.linears[0].weight[:, -self.places :].to(dtype).T.contiguous()

    @cached_property
    def _folded(self) -> FoldedRest:
        return FoldedRest(self.imnet.weights)


def code_decoder(imnet: Any, places: int, unfold: bool) -> CodeDecoder:
    """The fastest decoder of a network; see `CodeDecoder`. It is made for the weights of now."""
    factors = isinstance(imnet, MLP) and len(imnet.layers) > 1
    return (FactoredDecoder if factors else CodeDecoder)(imnet, places, unfold)


def place(rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
    """What a decoder is told besides the code: (..., 2), or with a cell (..., 4)."""
    if rel_cell is None:
        return rel_coord
    return torch.cat([rel_coord, rel_cell.expand_as(rel_coord)], dim=-1)
