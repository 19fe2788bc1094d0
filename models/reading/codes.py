"""The codes of a map: a vector for every place, which queries read by index."""

from __future__ import annotations

from copy import copy

import torch
import torch.nn.functional as F
from torch import Tensor


class CodeTable:
    """A map whose vectors are read by index, each with its 3 x 3 neighbours if ``unfold``.

    Unfolded it reads the same numbers as `F.unfold` (zeros outside, channel-major) without ever
    holding the map that is nine times as large.

    Args:
        feat: (B, C, h, w).
    """

    def __init__(self, feat: Tensor, unfold: bool = False) -> None:
        self.unfold = unfold
        padded = F.pad(feat, (1, 1, 1, 1)) if unfold else feat
        self.batch, self.channels, self.height, self.width = padded.shape
        self.rows = padded.permute(0, 2, 3, 1).contiguous().view(-1, self.channels)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the map."""
        border = 2 if self.unfold else 0
        return self.height - border, self.width - border

    def item(self, number: int) -> CodeTable:
        """The table of one image of the batch."""
        alone = copy(self)
        alone.batch, alone.rows = 1, self.rows.chunk(self.batch)[number]
        return alone

    def index(self, row: Tensor, col: Tensor) -> Tensor:
        """What `read` takes: (..., B, Q), for indices of rows and columns (..., B, Q) each."""
        image = torch.arange(self.batch, device=row.device).unsqueeze(1) * self.height * self.width
        return image + row * self.width + col

    def read(self, index: Tensor, memory: Tensor | None = None) -> Tensor:
        """The vectors (..., C or 9C) at an index (...).

        Args:
            memory: At least as many rows of length C to write the vectors to; not if unfolded.
        """
        if not self.unfold:
            return self._rows_at(index, memory)
        steps = torch.arange(3, device=index.device)
        neighbours = (steps.unsqueeze(1) * self.width + steps).flatten()
        return self._rows_at(index.unsqueeze(-1) + neighbours).transpose(-1, -2).flatten(-2)

    def _rows_at(self, index: Tensor, memory: Tensor | None = None) -> Tensor:
        out = None if memory is None else memory[: index.numel()]
        rows = torch.index_select(self.rows, 0, index.flatten(), out=out)
        return rows.view(*index.shape, self.channels)


def of_codes(weight: Tensor, bias: Tensor | None, feat: Tensor, unfold: bool) -> Tensor:
    """What a linear layer makes of every code, unfolded or not: (B, C, h, w) -> (B, out, h, w).

    Unfolding followed by a linear layer is a 3 x 3 convolution, so neither the unfolded map nor the
    unfolded codes ever exist.

    Args:
        weight: The columns of the layer that see the code, (out, 9C), or (out, C).
    """
    side = 3 if unfold else 1
    return F.conv2d(feat, weight.unflatten(1, (-1, side, side)), bias, padding=side // 2)
