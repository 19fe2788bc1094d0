"""The compact form in which samples are sent by the processes that read them, and its expansion.

In it, pixels have 8 bits and a query is a row and a column; for a whole image not even those are
sent. Floats and coordinates are computed where they are used, for a GPU after the transfer.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datasets.image_file import to_unit


class Compact(NamedTuple):
    """A sample as it is drawn.

    Attributes:
        inp: (C, h, w), uint8 or floats in [0, 1].
        gt: Colours of the queries, of the same types: (Q, C), or (C, H', W') for a grid.
        size: (H, W) of the target.
        rows, cols: Target pixels of the queries, int32: (Q,), or two shapes that broadcast to
            (H', W'). None for all pixels, row by row, where ``gt`` is (C, H, W).
    """

    inp: Tensor
    gt: Tensor
    size: tuple[int, int]
    rows: Tensor | None = None
    cols: Tensor | None = None


def stacked(samples: Sequence[Compact]) -> dict[str, Tensor]:
    """Stack samples into one batch, for `expanded`.

    Returns:
        ``inp``, ``gt`` and, if the samples have them, ``rows`` and ``cols``, with a batch
        dimension; ``cell`` (B, 2) and ``first`` (B, 2), the centre of the first pixel.
    """
    sizes = np.array([sample.size for sample in samples], np.float64)
    fields = {
        "inp": _stack([sample.inp for sample in samples]),
        "gt": _stack([sample.gt for sample in samples]),
        "first": torch.from_numpy((-1 + 1 / sizes).astype(np.float32)),
        "cell": torch.from_numpy((2 / sizes).astype(np.float32)),
    }
    for name in ("rows", "cols"):
        places = [place for sample in samples if (place := getattr(sample, name)) is not None]
        if places:
            fields[name] = torch.stack(places)
    return fields


def _stack(images: list[Tensor]) -> Tensor:
    if len({image.dtype for image in images}) > 1:  # files of 8 and of 16 bits
        images = [to_unit(image) for image in images]
    return torch.stack(images)


def expanded(fields: Mapping[str, Tensor], as_grid: bool) -> dict[str, Tensor]:
    """Make the batch ``{inp, coord, cell, gt}``, on the device of its fields.

    Coordinates equal those of `utils.pixel_centres`, and pixels those of `to_unit`, bit for bit.

    Args:
        fields: Tensors returned by `stacked`.
        as_grid: Return ``coord`` (B, H', W', 2), ``cell`` (B, 2) and ``gt`` (B, C, H', W'); else
            (B, Q, 2), (B, Q, 2) and (B, Q, C).
    """
    gt, first, cell = (fields[name] for name in ("gt", "first", "cell"))
    if whole := "rows" not in fields:
        places = [torch.arange(n, device=gt.device, dtype=first.dtype) for n in gt.shape[-2:]]
        indices = [places[0].view(1, -1, 1), places[1].view(1, 1, -1)]
    else:
        indices = [fields["rows"], fields["cols"]]
    axes = []
    for axis, index in enumerate(indices):
        start, step = (x[:, axis].view(-1, *[1] * (index.ndim - 1)) for x in (first, cell))
        axes.append(start + step * index)
    coord = torch.stack(torch.broadcast_tensors(*axes), dim=-1)
    if not as_grid:
        if whole:
            coord, gt = coord.flatten(1, 2), gt.flatten(2).mT
        cell = cell.unsqueeze(1).expand_as(coord).contiguous()
    return {"inp": _unit(fields["inp"]), "coord": coord, "cell": cell, "gt": _unit(gt.contiguous())}


def _unit(pixels: Tensor) -> Tensor:
    """Do the same as `to_unit`; a GPU only divides exactly if the divisor is a tensor.

    For a plain number, it multiplies by the reciprocal.
    """
    if pixels.dtype != torch.uint8:
        return pixels
    return pixels / torch.full((), 255.0, device=pixels.device)


@dataclass(frozen=True)
class Batch:
    """A batch as a reading process sends it: through a pipe, without shared memory or open files.

    Attributes:
        fields: Tensors of `stacked`, or a batch from a wrapper written elsewhere; empty if no image
            could be read.
        as_grid: Argument of `expanded`; None if the fields already are the batch.
        left_out: Keys of the samples that are missing.
        notes: Lines about images that could not be read.
    """

    fields: Mapping[str, Any]
    as_grid: bool | None = None
    left_out: Sequence[int] = ()
    notes: Sequence[str] = field(default_factory=list)

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled here, as tensors would go through /dev/shm, which is small in containers.
        fields = pickle.dumps({k: _as_array(v) for k, v in self.fields.items()}, protocol=5)
        return _restored, (fields, self.as_grid, self.left_out, self.notes)

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> Batch:
        fields = {k: function(v) if isinstance(v, Tensor) else v for k, v in self.fields.items()}
        return replace(self, fields=fields)

    def pin_memory(self) -> Batch:
        """Copy the batch to page-locked memory; called by torch's thread."""
        return self._mapped(Tensor.pin_memory)

    def on(self, device: torch.device) -> dict[str, Any]:
        """Return the batch ``{inp, coord, cell, gt}`` on a device."""
        batch = self._mapped(lambda tensor: tensor.to(device, non_blocking=True))
        if batch.as_grid is None:
            return dict(batch.fields)
        return expanded(batch.fields, batch.as_grid)


def _as_array(value: Any) -> Any:
    try:
        return value.numpy() if isinstance(value, Tensor) else value
    except (TypeError, RuntimeError):  # such as bfloat16: torch pickles it, more slowly
        return value


def _restored(fields: bytes, *others: Any) -> Batch:
    values = pickle.loads(fields)
    tensors = {
        k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in values.items()
    }
    return Batch(tensors, *others)
