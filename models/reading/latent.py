"""An encoded image, and how queries read its codes."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

# Floats of one layer's activations in a chunk of queries: 2 MiB.
CPU_CHUNK = 2**19


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

    def item(self, number: int) -> CodeTable:
        """Of one image of the batch."""
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


@dataclass(frozen=True)
class Latent:
    """An encoded image, or an encoded part of one: all that decoding needs of it.

    Attributes:
        feat: Feature map (B, C, h, w).
        inp: The pixels it was made from (B, C, h, w), normalised.
        codes: What queries read per code, if it is more than the feature map.
        tables: What queries read, if that is several tables.
        hidden: Some other map (B, D, h, w) that is computed once.
        memo: What depends on the latent and on the cell, for the last cell.
        context: What queries need to know of all others, if the model's queries see each other.
        origin: Of a part, the row and column of its first pixel in the image.
        image_size: Of a part, the (h, w) of the image.
    """

    feat: Tensor
    inp: Tensor
    codes: CodeTable | None = None
    tables: tuple[CodeTable, ...] = ()
    hidden: Tensor | None = None
    memo: dict[tuple[float, ...], CodeTable] = field(default_factory=dict)
    context: tuple[Tensor, ...] | None = None
    origin: tuple[int, int] = (0, 0)
    image_size: tuple[int, int] | None = None

    def item(self, number: int) -> Latent:
        """Of one image of the batch."""
        part = slice(number, number + 1)
        return replace(
            self,
            feat=self.feat[part],
            inp=self.inp[part],
            codes=None if self.codes is None else self.codes.item(number),
            tables=tuple(table.item(number) for table in self.tables),
            hidden=None if self.hidden is None else self.hidden[part],
            memo={},
        )

    @property
    def nbytes(self) -> int:
        """Of all tensors."""
        tables = [self.codes, *self.tables, *self.memo.values()]
        maps = [self.feat, self.inp, self.hidden]
        rows = [table.rows for table in tables if table is not None]
        return sum(tensor.nbytes for tensor in [*maps, *rows] if tensor is not None)

    @property
    def whole(self) -> tuple[int, int]:
        """(h, w) of the image."""
        return self.image_size or (self.inp.shape[-2], self.inp.shape[-1])

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the feature map of the image."""
        if self.image_size is None:
            return self.feat.shape[-2], self.feat.shape[-1]
        return self.image_size[0] * self._factor, self.image_size[1] * self._factor

    @property
    def grid_origin(self) -> tuple[int, int]:
        """Row and column of the first code of ``feat`` in that map."""
        return self.origin[0] * self._factor, self.origin[1] * self._factor

    @property
    def _factor(self) -> int:
        return self.feat.shape[-2] // self.inp.shape[-2]


def fits_cache(codes: CodeTable) -> bool:
    """Whether `in_cache` splits queries into chunks: for inference on a CPU."""
    traced = torch.compiler.is_compiling()  # or exported: the number of queries must stay open
    autocast = torch.is_autocast_enabled("cpu")
    return codes.rows.device.type == "cpu" and not (torch.is_grad_enabled() or traced or autocast)


def in_cache(
    function: Callable[..., Tensor],
    codes: CodeTable,
    *inputs: Tensor,
    size: int = 1,
    width: int | None = None,
) -> Tensor:
    """Apply a function to chunks of queries whose activations stay in the processor's cache.

    Unless `fits_cache`, it is one chunk.

    Args:
        function: Of the inputs and ``memory``, with results (B, k, ...). The memory is None, or two
            pieces (2, T*B*k*size or more, channels of the codes) to write activations to; that
            every chunk has the same ones keeps them in the cache.
        inputs: (T, B, K, ...) each.
        size: So many queries share their codes.
        width: Floats of a query, if codes are read once for those that share them; else they are as
            many as those of the codes.
    """
    if not fits_cache(codes):
        return function(*inputs, memory=None)
    corners, batch, count = inputs[0].shape[:3]
    channels = codes.channels * (9 if codes.unfold else 1)
    floats = channels * size if width is None else channels + width * size
    step = max(1, CPU_CHUNK // (floats * corners * batch))
    memory = None
    if not codes.unfold:
        memory = codes.rows.new_empty(2, min(step, count) * size * corners * batch, channels)
    parts = zip(*(x.split(step, dim=2) for x in inputs), strict=True)
    return torch.cat([function(*part, memory=memory) for part in parts], dim=1)
