"""A fast form of LTE's decoder of sines."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.reading.decoder import CodeFunction, Decoder, FoldedRest, apply_decoder


class FastWaves(CodeFunction):
    """A function f of LTE that writes its sines to memory which is already in the cache.

    Args:
        literal: The function itself.
        phase: Phase as a function of the cell: (..., 2) to (..., D/2).
        decoder: Decoder of the D waves.
    """

    def __init__(
        self,
        literal: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        phase: nn.Module,
        decoder: Decoder,
    ) -> None:
        self.literal, self.phase, self.decoder = literal, phase, decoder
        self.folded: FoldedRest | None = None

    def __call__(self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None) -> Tensor:
        return self.literal(z, rel_coord, rel_cell)

    def in_place(
        self, z: Tensor, rel_coord: Tensor, rel_cell: Tensor | None, spare: Tensor
    ) -> Tensor:
        """See `CodeFunction.in_place`."""
        half = z.shape[-1] // 4
        amplitude, rows, cols = z.split([2 * half, half, half], dim=-1)
        row, col = rel_coord.split(1, dim=-1)
        shape = (*rel_coord.shape[:-1], 2 * half)
        x = spare.flatten()[: math.prod(shape)].view(shape)
        angle = torch.addcmul(self.phase(rel_cell), rows, row).addcmul_(cols, col).mul_(math.pi)
        torch.cos(angle, out=x[..., :half])
        torch.sin(angle, out=x[..., half:])
        return self._decoded(x.mul_(amplitude).flatten(0, -2)).unflatten(0, shape[:-1])

    def _decoded(self, x: Tensor) -> Tensor:
        if isinstance(self.decoder, nn.Module) or len(self.decoder) == 1:
            return apply_decoder(self.decoder, x)
        if self.folded is None:
            self.folded = FoldedRest(self.decoder)
        return self.folded(F.linear(x, *self.decoder[0]), x)
