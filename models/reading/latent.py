"""An encoded image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from models.reading.codes import CodeTable


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

    def cells(self, cell: Tensor) -> Tensor:
        """The cell of each code in units of half its side: that of the query of the same number.

        Codes beyond the last query have the cell of the last.

        Args:
            cell: Of queries (B, Q, 2).

        Returns:
            (B, h, w, 2); if Q is 1, (B, 1, 1, 2).
        """
        rel_cell = (cell * cell.new_tensor(self.grid)).to(self.inp.dtype)
        if cell.shape[1] == 1:
            return rel_cell.unsqueeze(1)
        h, w = self.feat.shape[-2:]
        query = torch.arange(h * w, device=cell.device).clamp(max=cell.shape[1] - 1)
        return rel_cell[:, query].unflatten(1, (h, w))
