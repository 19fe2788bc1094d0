"""Prediction with models, and rendering of images at any size."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from errors import ChannelsError, UserError
from utils import (
    denormalise,
    make_cell,
    make_coord,
    normalise,
)

DataNorm = Mapping[str, Mapping[str, list[float]]]

IDENTITY_NORM: DataNorm = {key: {"sub": [0.0], "div": [1.0]} for key in ("inp", "gt")}
# What the published code trains and renders with; its checkpoints do not state it.
PUBLISHED_NORM: DataNorm = {key: {"sub": [0.5], "div": [0.5]} for key in ("inp", "gt")}


@torch.no_grad()
def batched_predict(
    model: Any, inp: Tensor, coord: Tensor, cell: Tensor | None, bsize: int | None
) -> Tensor:
    """Encode an image once and query it ``bsize`` coordinates at a time.

    Args:
        model: A model with ``gen_feat`` and ``query_rgb``.
        inp: (B, 3, h, w), normalised; gray images have one channel instead of three, here and
            below.
        coord, cell: (B, Q, 2); or a grid (B, H, W, 2) and a cell per image (B, 2).
        bsize: Queries at a time, in whole rows for a grid; None for all at once. A model whose
            queries see each other always gets all at once.

    Returns:
        (B, Q, 3) or, for a grid, (B, 3, H, W); chunks change nothing but rounding, as long as a
        `one_cell` model gets only one cell.
    """
    if cell is not None:
        cell = clip_cell(model, cell, inp.shape[-2:])
    model.gen_feat(inp)
    is_grid = coord.ndim == 4
    if getattr(model, "spans_queries", False):
        bsize = None
    step = max(1, (bsize or coord[0, ..., 0].numel()) // (coord.shape[2] if is_grid else 1))
    chunks = []
    for start in range(0, max(1, coord.shape[1]), step):
        part = slice(start, start + step)
        cells = cell if cell is None or is_grid else cell[:, part]
        chunks.append(model.query_rgb(coord[:, part], cells))
    return torch.cat(chunks, dim=2 if is_grid else 1)


def clip_cell(model: Any, cell: Tensor, size: Sequence[int]) -> Tensor:
    """Enlarge cells (..., 2) that are smaller than at the largest scale the model uses for cells.

    The published tests multiply by max(scale / 4, 1), with the scale of the rows for both sides;
    here each side has its own.

    Args:
        size: (h, w) of the input.
    """
    scale = getattr(model, "largest_scale", None)
    if scale is None:
        return cell
    return torch.maximum(cell, cell.new_tensor([2 / (scale * n) for n in size]))


def self_ensemble(
    model: Any, inp: Tensor, coord: Tensor, cell: Tensor | None, bsize: int | None
) -> Tensor:
    """Average `batched_predict`, whose arguments it takes, over eight flips and rotations.

    Source: Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW
    2017, section 3.4.
    """
    total = torch.zeros((), device=inp.device)
    for rows, columns, turned in product((False, True), repeat=3):
        image, place, size = inp, coord, cell
        for flipped, dim in ((rows, 0), (columns, 1)):
            if flipped:
                image = image.flip(dim - 2)
                place = place * place.new_tensor([-1.0, 1.0] if dim == 0 else [1.0, -1.0])
        if turned:
            image, place = image.mT, place.flip(-1)
            size = None if size is None else size.flip(-1)
        total = total + batched_predict(model, image, place, size, bsize)
    return total / 8


@torch.no_grad()
def super_resolve(
    model: nn.Module,
    image: Tensor,
    size: tuple[int, int],
    data_norm: DataNorm | None = None,
    bsize: int = 30000,
) -> Tensor:
    """Render an image at any size.

    Args:
        model: Model in evaluation mode; the image is moved to its device.
        image: (3, h, w) in [0, 1].
        size: (H, W) of the result.
        data_norm: The model's normalisation; that of the published checkpoints if None.
        bsize: Queries at a time.

    Returns:
        (3, H, W) in [0, 1], on the CPU.

    Raises:
        UserError: If the image's number of channels does not match the model or data_norm.
    """
    norm = data_norm or PUBLISHED_NORM
    check_data_norm(norm, len(image))
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    inp = normalise(image.to(device).unsqueeze(0), norm["inp"], 1)
    coord = make_coord(size).to(device).unsqueeze(0)
    cell = make_cell(size).to(device).expand_as(coord)
    pred = batched_predict(model, inp, coord, cell, bsize)
    if pred.shape[2] != len(image):
        raise ChannelsError(pred.shape[2], len(image))
    return denormalise(pred, norm["gt"], 2).clamp(0, 1)[0].T.unflatten(1, size).cpu()


def progress_bar(batches: Iterable[Any], title: str, hidden: bool = False, **options: Any) -> Any:
    """Show progress on a terminal, unless hidden; options go to tqdm."""
    off = hidden or sys.stderr is None or not sys.stderr.isatty()
    return tqdm(batches, desc=title, leave=False, dynamic_ncols=True, disable=off, **options)


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Move a batch to a device; from pinned memory it is copied while the program goes on."""
    return {key: value.to(device, non_blocking=True) for key, value in batch.items()}


def as_queries(samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the queries of a batch or a sample to a list (..., Q, 2), even if they are a grid."""
    if samples["coord"].ndim == samples["cell"].ndim:
        return dict(samples)
    coord = samples["coord"].flatten(-3, -2)
    cell = samples["cell"].unsqueeze(-2).expand_as(coord)
    return {**samples, "coord": coord, "cell": cell, "gt": samples["gt"].flatten(-2).mT}


def check_data_norm(norm: DataNorm, channels: int) -> None:
    """Raise a `UserError` if a normalisation has numbers for another number of channels."""
    for key, stats in norm.items():
        for name, numbers in stats.items():
            if len(numbers) not in (1, channels):
                raise UserError(
                    f"data_norm: {key}.{name} has {len(numbers)} numbers for {channels} channels: "
                    "give one number, or one per channel"
                )
