"""What happens to a batch: training steps, evaluation, and rendering of whole images."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from configs.schema import EVAL_TYPE
from configs.spec import UserError
from datasets.loader import BatchLoader
from parallel import ALONE, Group
from utils import (
    Averager,
    calc_psnr,
    denormalise,
    make_cell,
    make_coord,
    normalise,
)

DataNorm = Mapping[str, Mapping[str, list[float]]]

IDENTITY_NORM: DataNorm = {key: {"sub": [0.0], "div": [1.0]} for key in ("inp", "gt")}
# What the published code trains and renders with; its checkpoints do not say so.
PUBLISHED_NORM: DataNorm = {key: {"sub": [0.5], "div": [0.5]} for key in ("inp", "gt")}

AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Mapping[str, Tensor],
    data_norm: DataNorm,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.l1_loss,
    grad_clip: float | None = None,
    accumulate: int = 1,
    amp: str | None = None,
    scaler: torch.amp.GradScaler | None = None,
    skip_bad: bool = False,
    weight: float = 1.0,
    group: Group = ALONE,
) -> tuple[Tensor, Tensor]:
    """One optimizer step.

    Args:
        model: Called as ``model(inp, coord, cell)``.
        batch: ``{inp, coord, cell, gt}``, pixels in [0, 1], on the model's device.
        data_norm: Applied to ``inp`` and ``gt``.
        loss: Mean over prediction and target (B, Q, 3).
        grad_clip: Largest norm of all gradients together; longer ones are shortened to it.
        accumulate: The batch goes through the model in so many parts whose gradients are added.
        amp: Matrix products and convolutions in "bf16" or "fp16" (`torch.autocast`). Coordinates,
            ensemble weights, parameters and the loss stay in fp32.
        scaler: Of the loss, for "fp16"; it skips steps whose scaled gradients overflow.
        skip_bad: Leave the weights as they are if loss or gradients are not finite.
        weight: Of the batch's loss in the mean over the group: its share of the samples, times the
            number of processes.
        group: The processes that have the other parts of the batch; ``model`` averages their
            gradients (`Group.average_gradients`).

    Returns:
        (the loss, whether loss and gradients are finite), both still on the device, of the group.
    """
    scaler = scaler or torch.amp.GradScaler(batch["inp"].device.type, enabled=False)
    optimizer.zero_grad(set_to_none=True)
    size = len(batch["inp"])
    total = torch.zeros((), device=batch["inp"].device)
    parts = _split(batch, accumulate)
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        inp, gt = (normalise(part[k], data_norm[k], dim) for k, dim in (("inp", 1), ("gt", 2)))
        # Gradients of the group meet once, in the last part.
        with nullcontext() if last else getattr(model, "no_sync", nullcontext)():
            with torch.autocast(inp.device.type, AMP_TYPES[amp or "bf16"], enabled=amp is not None):
                pred = model(inp, part["coord"], part["cell"])
            _check_channels(pred, gt)
            share = loss(pred.to(gt.dtype), gt) * (len(inp) / size * weight)
            scaler.scale(share).backward()
        total += share.detach()
    total = group.mean(total)
    scaler.unscale_(optimizer)
    weights = [p for p in model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
    if grad_clip is not None:
        nn.utils.clip_grads_with_norm_(weights, grad_clip, norm)
    finite = torch.isfinite(total)
    if not scaler.is_enabled():
        finite = finite & torch.isfinite(norm)
    if not skip_bad or finite:
        scaler.step(optimizer)
    scaler.update()
    return total, finite


def _split(batch: Mapping[str, Tensor], parts: int) -> list[dict[str, Tensor]]:
    chunks = zip(*(value.chunk(parts) for value in batch.values()), strict=True)
    return [dict(zip(batch, chunk, strict=True)) for chunk in chunks]


@torch.no_grad()
def batched_predict(
    model: Any, inp: Tensor, coord: Tensor, cell: Tensor | None, bsize: int | None
) -> Tensor:
    """Encode an image once and query it ``bsize`` coordinates at a time.

    Args:
        model: With ``gen_feat`` and ``query_rgb``.
        inp: (B, 3, h, w), normalised.
        coord, cell: (B, Q, 2).
        bsize: Queries at a time; None: all at once.

    Returns:
        (B, Q, 3); chunks change nothing but rounding.
    """
    model.gen_feat(inp)
    step = max(1, bsize or coord.shape[1])
    chunks = []
    for start in range(0, max(1, coord.shape[1]), step):
        part = slice(start, start + step)
        chunks.append(model.query_rgb(coord[:, part], None if cell is None else cell[:, part]))
    return torch.cat(chunks, dim=1)


class Evaluated(NamedTuple):
    """One image of an evaluation: its number, PSNR, and picture (3, H, W) in [0, 1] if whole."""

    number: int
    psnr: float
    picture: Tensor | None


@torch.no_grad()
def evaluate(
    loader: Iterable[Mapping[str, Tensor]],
    model: nn.Module,
    data_norm: DataNorm | None = None,
    eval_type: str | None = None,
    eval_bsize: int | None = None,
    numbers: Iterator[int] | None = None,
) -> Iterator[Evaluated]:
    """Predict every sample and compare it with its target, one image at a time.

    Args:
        loader: Batches ``{inp, coord, cell, gt}``, pixels in [0, 1].
        model: In evaluation mode; batches follow it to its device.
        data_norm: ``{inp: {sub, div}, gt: {sub, div}}``; identity if None.
        eval_type: ``benchmark-S``, ``div2k-S`` (see `calc_psnr`), or None: all pixels, RGB.
        eval_bsize: Queries at a time.
        numbers: Of the samples; from 0 if None.

    Raises:
        UserError: If the protocol needs a whole image and the samples are none.
    """
    norm = data_norm or IDENTITY_NORM
    protocol, scale = _parse_eval_type(eval_type)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    numbers = numbers or count()
    for batch in loader:
        batch = to_device(batch, device)
        inp = normalise(batch["inp"], norm["inp"], 1)
        pred = batched_predict(model, inp, batch["coord"], batch["cell"], eval_bsize)
        _check_channels(pred, batch["gt"])
        pred = denormalise(pred, norm["gt"], 2).clamp(0, 1)
        for sr, hr, *place in zip(pred, batch["gt"], batch["coord"], batch["cell"], strict=True):
            number = next(numbers)
            size = _whole_image(*place)
            if protocol is not None and size is None:
                raise UserError(
                    f"eval_type {eval_type} shaves a border: it needs whole images, "
                    "so the wrapper must not have sample_q"
                )
            picture = None
            if size is not None:
                sr, hr = (x.T.unflatten(1, size) for x in (sr, hr))
                picture = sr
            try:
                psnr = calc_psnr(sr, hr, protocol, scale)
            except ValueError as error:
                raise UserError(f"image {number + 1} of the set: {error}") from None
            yield Evaluated(number, psnr.item(), picture)


def eval_psnr(
    loader: Iterable[Mapping[str, Tensor]],
    model: nn.Module,
    data_norm: DataNorm | None = None,
    eval_type: str | None = None,
    eval_bsize: int | None = None,
    verbose: bool = False,
    on_image: Callable[[Evaluated], None] | None = None,
    group: Group = ALONE,
    heed: Callable[[], Any] | None = None,
) -> float:
    """Mean over images of each image's PSNR in dB; arguments as of `evaluate`.

    An image reproduced exactly has no finite PSNR; it is left out of the mean, with a warning.

    Args:
        verbose: Show a progress bar with the mean so far.
        on_image: Called with each result of this process, e.g. to keep its picture.
        group: The processes that share the loader's batches.
        heed: Called after every batch, equally often in all processes.
    """
    model.eval()
    bar = progress_bar(loader, "val", hidden=not verbose)
    batches = group.in_step(bar, heed or partial(group.largest, 0))
    numbers = loader.numbers() if isinstance(loader, BatchLoader) else None
    found = []
    for result in evaluate(batches, model, data_norm, eval_type, eval_bsize, numbers):
        if on_image is not None:
            on_image(result)
        found.append((result.number, result.psnr))
        if not bar.disable:
            bar.set_postfix(psnr=f"{_mean(found):.4f}")
    found = sorted(group.gather(found))  # the order of a sum decides its last bits
    exact = sum(math.isinf(psnr) for _, psnr in found)
    if exact and group.is_first:
        warnings.warn(
            f"{exact} images are reproduced exactly and left out of the mean PSNR", stacklevel=2
        )
    return _mean(found) if exact < len(found) or not exact else math.inf


def _mean(found: Iterable[tuple[int, float]]) -> float:
    mean = Averager()
    for _, psnr in found:
        if not math.isinf(psnr):
            mean.add(psnr)
    return mean.item()


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
        model: In evaluation mode; the image follows it to its device.
        image: (3, h, w) in [0, 1].
        size: (H, W) of the result.
        data_norm: Of the model; that of the published checkpoints if None.
        bsize: Queries at a time.

    Returns:
        (3, H, W) in [0, 1], on the CPU.
    """
    norm = data_norm or PUBLISHED_NORM
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    inp = normalise(image.to(device).unsqueeze(0), norm["inp"], 1)
    coord = make_coord(size).to(device).unsqueeze(0)
    cell = make_cell(size).to(device).expand_as(coord)
    pred = batched_predict(model, inp, coord, cell, bsize)
    return denormalise(pred, norm["gt"], 2).clamp(0, 1)[0].T.unflatten(1, size).cpu()


def progress_bar(batches: Iterable[Any], title: str, hidden: bool = False, **options: Any) -> Any:
    """On a terminal, and unless hidden; options as of tqdm."""
    off = hidden or not sys.stderr.isatty()
    return tqdm(batches, desc=title, leave=False, dynamic_ncols=True, disable=off, **options)


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """A batch there; pinned memory is copied while the program goes on."""
    return {key: value.to(device, non_blocking=True) for key, value in batch.items()}


def _parse_eval_type(eval_type: str | None) -> tuple[str | None, float]:
    if eval_type is None:
        return None, 1
    match = EVAL_TYPE.fullmatch(eval_type)
    if match is None:
        raise UserError(f"eval_type {eval_type!r}: expected benchmark-S or div2k-S")
    return match[1], float(match[2])


def _check_channels(pred: Tensor, gt: Tensor) -> None:
    if pred.shape != gt.shape:
        raise UserError(
            f"the model gives {pred.shape[-1]} channels where {gt.shape[-1]} are wanted: see "
            "out_dim of imnet_spec; without imnet_spec the encoder needs its upsampler"
        )


def _whole_image(coord: Tensor, cell: Tensor) -> tuple[int, int] | None:
    """The size of the image whose pixels a sample has in order, by its cell; None if it is not."""
    height, width = (round(2 / side) for side in cell[0].tolist())
    if height * width != len(coord):
        return None
    grid = make_coord((height, width)).to(coord)
    return (height, width) if torch.allclose(coord, grid, atol=1e-5) else None
