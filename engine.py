"""What happens to a batch: training steps, evaluation, and rendering of whole images."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from configs.schema import EVAL_TYPE
from configs.spec import Registry, UserError
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

optimizers = Registry("optimizer")
optimizers.register("adam")(torch.optim.Adam)
optimizers.register("sgd")(torch.optim.SGD)

LOSS_SHOWN_EVERY = 20  # steps; each look at the loss waits for the GPU


def make_optimizer(
    spec: Mapping[str, Any], parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimizer of a spec; all parameters in one kernel ("fused") unless it says otherwise.

    Raises:
        UserError: If its arguments are wrong, or exclude each other.
    """
    args = spec.get("args") or {}
    given = {"params": list(parameters)}
    fused = {"name": spec["name"], "args": {"fused": True, **args}}
    if not {"foreach", "differentiable"} & args.keys():
        spec = spec if optimizers.check(fused, "optimizer", given) else fused
    try:
        return optimizers.make(spec, args=given)
    except RuntimeError as error:
        raise UserError(f"optimizer: {error}") from None


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Mapping[str, Tensor],
    data_norm: DataNorm,
    *,
    grad_clip: float | None = None,
    amp: str | None = None,
    scaler: torch.amp.GradScaler | None = None,
) -> Tensor:
    """One optimizer step with the L1 loss.

    Args:
        model: Called as ``model(inp, coord, cell)``.
        batch: ``{inp, coord, cell, gt}``, pixels in [0, 1], on the model's device.
        data_norm: Applied to ``inp`` and ``gt``.
        grad_clip: Largest norm of all gradients together; longer ones are shortened to it.
        amp: Matrix products and convolutions in "bf16" or "fp16" (`torch.autocast`). Coordinates,
            ensemble weights, parameters and the loss stay in fp32.
        scaler: Of the loss, for "fp16".

    Returns:
        The loss, still on the device.
    """
    inp, gt = (normalise(batch[key], data_norm[key], dim) for key, dim in (("inp", 1), ("gt", 2)))
    with torch.autocast(inp.device.type, AMP_TYPES[amp or "bf16"], enabled=amp is not None):
        pred = model(inp, batch["coord"], batch["cell"])
    _check_channels(pred, gt)
    loss = nn.functional.l1_loss(pred.to(gt.dtype), gt)
    optimizer.zero_grad(set_to_none=True)
    scaler = scaler or torch.amp.GradScaler(inp.device.type, enabled=False)
    scaler.scale(loss).backward()
    if grad_clip is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    scaler.step(optimizer)
    scaler.update()
    return loss.detach()


def train_one_epoch(
    model: nn.Module,
    loader: Iterable[Mapping[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    data_norm: DataNorm,
    *,
    device: torch.device,
    title: str = "train",
    **options: Any,
) -> float:
    """One pass over the loader.

    Args:
        loader: Batches as of `train_step`, wherever they are.
        device: Where the model is.
        title: Of the progress bar.
        model, optimizer, data_norm, options: As of `train_step`.

    Returns:
        Mean loss per sample.
    """
    model.train()
    total = torch.zeros((), device=device)
    count = 0
    progress = _progress(loader, title)
    for step, batch in enumerate(progress):
        loss = train_step(model, optimizer, _to_device(batch, device), data_norm, **options)
        size = len(batch["inp"])
        total += loss * size
        count += size
        if step % LOSS_SHOWN_EVERY == 0 and not progress.disable:
            progress.set_postfix(loss=f"{total.item() / count:.4f}")
    mean = total.item() / count
    if not math.isfinite(mean):
        raise UserError(f"the loss became {mean}: lower the learning rate, or set grad_clip")
    return mean


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
) -> Iterator[Evaluated]:
    """Predict every sample and compare it with its target, one image at a time.

    Args:
        loader: Batches ``{inp, coord, cell, gt}``, pixels in [0, 1].
        model: In evaluation mode; batches follow it to its device.
        data_norm: ``{inp: {sub, div}, gt: {sub, div}}``; identity if None.
        eval_type: ``benchmark-S``, ``div2k-S`` (see `calc_psnr`), or None: all pixels, RGB.
        eval_bsize: Queries at a time.

    Raises:
        UserError: If the protocol needs a whole image and the samples are none.
    """
    norm = data_norm or IDENTITY_NORM
    protocol, scale = _parse_eval_type(eval_type)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    index = 0
    for batch in loader:
        batch = _to_device(batch, device)
        inp = normalise(batch["inp"], norm["inp"], 1)
        pred = batched_predict(model, inp, batch["coord"], batch["cell"], eval_bsize)
        _check_channels(pred, batch["gt"])
        pred = denormalise(pred, norm["gt"], 2).clamp(0, 1)
        for sr, hr, *place in zip(pred, batch["gt"], batch["coord"], batch["cell"], strict=True):
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
                raise UserError(f"image {index + 1} of the set: {error}") from None
            yield Evaluated(index, psnr.item(), picture)
            index += 1


def eval_psnr(
    loader: Iterable[Mapping[str, Tensor]],
    model: nn.Module,
    data_norm: DataNorm | None = None,
    eval_type: str | None = None,
    eval_bsize: int | None = None,
    verbose: bool = False,
    on_image: Callable[[Evaluated], None] | None = None,
) -> float:
    """Mean over images of each image's PSNR in dB; arguments as of `evaluate`.

    An image reproduced exactly has no finite PSNR; it is left out of the mean, with a warning.

    Args:
        verbose: Show a progress bar with the mean so far.
        on_image: Called with each result, e.g. to keep its picture.
    """
    model.eval()
    batches = _progress(loader, "val", hidden=not verbose)
    mean = Averager()
    exact = 0
    for result in evaluate(batches, model, data_norm, eval_type, eval_bsize):
        if on_image is not None:
            on_image(result)
        if math.isinf(result.psnr):
            exact += 1
            continue
        mean.add(result.psnr)
        batches.set_postfix(psnr=f"{mean.item():.4f}")
    if exact:
        warnings.warn(
            f"{exact} images are reproduced exactly and left out of the mean PSNR", stacklevel=2
        )
    return mean.item() if mean.count or not exact else math.inf


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


def _progress(batches: Iterable[Any], title: str, hidden: bool = False) -> Any:
    off = hidden or not sys.stderr.isatty()
    return tqdm(batches, desc=title, leave=False, dynamic_ncols=True, disable=off)


def _to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
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
