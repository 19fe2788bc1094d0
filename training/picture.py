"""Draw a model's output for the first validation images, beside the input and the truth."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from datasets.wrappers import SampleWrapper
from engine import DataNorm, as_queries, batched_predict
from errors import ChannelsError
from queries import size_by_cell
from utils import denormalise, normalise, sample_bicubic, sample_nearest

ROWS = 4


@torch.no_grad()
def comparison(
    model: Any,
    samples: SampleWrapper,
    data_norm: DataNorm,
    device: torch.device,
    bsize: int | None,
    side: int = 96,
) -> Tensor:
    """Draw input (nearest), bicubic, prediction and truth, side by side, for the first few samples.

    Args:
        model: Model in evaluation mode.
        samples: Validation samples; all pixels of a sample are used, whatever its ``sample_q``.
        bsize: Number of queries at a time.
        side: Side of the part of each image that is shown, in pixels of the prediction.

    Returns:
        A picture (3, rows * side, 4 * side) in [0, 1] of the middle of each image, gray or not;
        smaller images are padded with black.
    """
    whole = copy.copy(samples)
    whole.sample_q = None
    rows = []
    for i in range(min(ROWS, len(whole))):
        sample = {
            key: value.to(device) for key, value in _middle(as_queries(whole[i]), side).items()
        }
        inp, coord = sample["inp"].unsqueeze(0), sample["coord"].flatten(0, 1).unsqueeze(0)
        cell = sample["cell"].flatten(0, 1).unsqueeze(0)
        size = sample["coord"].shape[:2]
        ours = batched_predict(model, normalise(inp, data_norm["inp"], 1), coord, cell, bsize)
        truth = sample["gt"].flatten(0, 1).unsqueeze(0)
        if ours.shape != truth.shape:
            raise ChannelsError(ours.shape[2], truth.shape[2])
        shown = [
            sample_nearest(inp, coord),
            sample_bicubic(inp, coord),
            denormalise(ours, data_norm["gt"], 2),
            truth,
        ]
        rows.append(torch.cat([_padded(x[0].T.unflatten(1, size), side) for x in shown], dim=2))
    return torch.cat(rows, dim=1).clamp(0, 1).expand(3, -1, -1).cpu()


def _middle(sample: Mapping[str, Tensor], side: int) -> dict[str, Tensor]:
    """Select the queries of the central pixels of a whole image, as (H', W', ...)."""
    height, width = size_by_cell(sample["cell"][0])
    place = [slice((n - min(n, side)) // 2, (n + min(n, side)) // 2) for n in (height, width)]
    grids = {k: sample[k].unflatten(0, (height, width)) for k in ("coord", "cell", "gt")}
    return {"inp": sample["inp"], **{k: grid[place[0], place[1]] for k, grid in grids.items()}}


def _padded(picture: Tensor, side: int) -> Tensor:
    height, width = picture.shape[-2:]
    return torch.nn.functional.pad(picture, (0, side - width, 0, side - height))
