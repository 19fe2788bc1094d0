"""Encoded images: what decoding needs of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from errors import ChannelsError
from models.reading.codes import CodeTable, in_cache, nearest_code
from queries import Queries
from utils import sample_bicubic, sample_bilinear

# Interpolations of the input that are added to colours, by name.
INPUT_SKIPS = {"bilinear": sample_bilinear, "bicubic": sample_bicubic}

T = TypeVar("T")


class Last(Generic[T]):
    """The value made for the last key, kept for further requests with the same key.

    Several threads may share one: while one of them makes a value, the others wait.
    """

    def __init__(self) -> None:
        self.known: tuple[Any, T] | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Last, ()

    def get(self, key: Any, make: Callable[[], T]) -> T:
        """Return the value of a key, and make it unless it is the last one."""
        with self._lock:
            if self.known is None or self.known[0] != key:
                self.known = None  # so that the two are never in memory together
                self.known = key, make()
            return self.known[1]


@dataclass(frozen=True)
class Latent:
    """An encoded image or part of one: all that decoding needs of it.

    A model that computes more than a feature map from an image stores it in a subclass.

    Attributes:
        feat: Feature map (B, C, h, w).
        inp: Pixels it was made from (B, C, h, w), normalised.
        context: What a query needs to know of all others, if the model's queries see each other.
        origin: For a part, the row and column of its first pixel in the image.
        image_size: For a part, the (h, w) of the image.
    """

    feat: Tensor
    inp: Tensor
    context: tuple[Tensor, ...] | None = None
    origin: tuple[int, int] = (0, 0)
    image_size: tuple[int, int] | None = None

    def item(self, number: int) -> Self:
        """The latent of one image of the batch."""
        return replace(self, **{name: _item(made, number) for name, made in self._made().items()})

    @property
    def nbytes(self) -> int:
        """Bytes of everything computed from the image."""
        return sum(_nbytes(made) for made in self._made().values())

    def _made(self) -> dict[str, Any]:
        """Return the fields computed from the image, by name."""
        told = ("context", "origin", "image_size")
        return {
            each.name: getattr(self, each.name) for each in fields(self) if each.name not in told
        }

    @property
    def whole(self) -> tuple[int, int]:
        """(h, w) of the whole image."""
        return self.image_size or (self.inp.shape[-2], self.inp.shape[-1])

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the feature map of the whole image."""
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
        """Give each code the cell of the query with the same index, in units of half a code's side.

        Codes beyond the last query get the cell of the last.

        Args:
            cell: Cells of queries (B, Q, 2).

        Returns:
            (B, h, w, 2); if Q is 1, (B, 1, 1, 2).
        """
        rel_cell = (cell * cell.new_tensor(self.grid)).to(self.inp.dtype)
        if cell.shape[1] == 1:
            return rel_cell.unsqueeze(1)
        h, w = self.feat.shape[-2:]
        query = torch.arange(h * w, device=cell.device).clamp(max=cell.shape[1] - 1)
        return rel_cell[:, query].unflatten(1, (h, w))

    def add_input(self, rgb: Tensor, queries: Queries, kind: str) -> Tensor:
        """Add an interpolation of the input to colours (B, Q, 3): one of `INPUT_SKIPS`, or "none".

        Raises:
            ChannelsError: If the two have different numbers of channels.
        """
        if kind == "none":
            return rgb
        if rgb.shape[-1] != self.inp.shape[1]:
            raise ChannelsError(rgb.shape[-1], self.inp.shape[1])
        place = self.whole, self.origin, queries.fast_axes
        return rgb + INPUT_SKIPS[kind](self.inp, queries.coord, *place)

    def with_codes(self, codes: CodeTable) -> CodeLatent:
        """Return the latent for queries that read these codes."""
        place = self.origin, self.image_size
        return CodeLatent(self.feat, self.inp, self.context, *place, codes=codes)


@dataclass(frozen=True, kw_only=True)
class CodeLatent(Latent):
    """A latent whose queries read one table of codes.

    Attributes:
        codes: The table, a map of the same size as the feature map.
    """

    codes: CodeTable

    def index(self, row: Tensor, col: Tensor) -> Tensor:
        """Compute the index into ``codes`` of rows and columns (..., B, Q) of the whole map."""
        top, left = self.grid_origin
        return self.codes.index(row - top, col - left)

    def at_nearest(
        self,
        function: Callable[[Tensor, Tensor], Tensor],
        point: Tensor,
        inputs: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Apply a function f(z, inputs(v)) to the code z nearest to each point, whose centre is v.

        A point between two codes takes the second.

        Args:
            function: Function of (B, q, C) and (B, q, D), with results (B, q, ...).
            point: (B, Q, 2).
            inputs: Function of the centres of all queries at once: (B, Q, 2) to (B, Q, D).
        """
        axes = zip(point.unbind(-1), self.grid, strict=True)
        (row, y), (col, x) = (nearest_code(at, n, 0.0) for at, n in axes)

        def predict(z: Tensor, x: Tensor, spare: Tensor | None) -> Tensor:
            return function(z.squeeze(0), x.squeeze(0))

        given = inputs(torch.stack([y, x], dim=-1)).unsqueeze(0)
        return in_cache(predict, self.codes, self.index(row, col).unsqueeze(0), given)


@dataclass(frozen=True, kw_only=True)
class TablesLatent(Latent):
    """A latent whose queries read several tables of codes.

    Attributes:
        tables: The tables, which depend on the model.
        maps: Map that further tables are made from, if there are any.
    """

    tables: tuple[CodeTable, ...]
    maps: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class ModulatedLatent(Latent):
    """A latent whose codes also depend on the cell.

    Attributes:
        hidden: The part that does not depend on the cell (B, D, h, w).
        memo: The codes of the last cell.
    """

    hidden: Tensor
    memo: Last[CodeTable] = field(default_factory=Last)


def _item(made: Any, number: int) -> Any:
    """Take one image's share of something computed from a batch."""
    if isinstance(made, Tensor):
        return made[number : number + 1]
    if isinstance(made, CodeTable):
        return made.item(number)
    if isinstance(made, tuple):
        return tuple(_item(each, number) for each in made)
    return Last() if isinstance(made, Last) else made


def _nbytes(made: Any) -> int:
    if isinstance(made, Tensor):
        return made.nbytes
    if isinstance(made, CodeTable):
        return made.rows.nbytes
    if isinstance(made, Last):
        return _nbytes(made.known[1]) if made.known else 0
    return sum(map(_nbytes, made)) if isinstance(made, tuple) else 0
