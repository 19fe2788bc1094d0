"""Train a model by one optimizer step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from engine import DataNorm
from errors import ChannelsError, UserError
from parallel import ALONE, Group
from utils import normalise

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
    """Take one optimizer step.

    Args:
        model: Model, called as ``model(inp, coord, cell)``.
        batch: ``{inp, coord, cell, gt}``, pixels in [0, 1], on the model's device.
        data_norm: Normalisation of ``inp`` and ``gt``.
        loss: Loss function, a mean over prediction and target, (B, Q, 3) or (B, 3, H, W).
        grad_clip: Largest norm of all gradients together; larger ones are scaled down to it.
        accumulate: Number of parts in which the batch goes through the model; their gradients are
            added.
        amp: Data type of matrix products and convolutions, "bf16" or "fp16" (`torch.autocast`).
            Coordinates, ensemble weights, parameters and the loss stay in fp32.
        scaler: Scaler of the loss, for "fp16"; it skips steps whose scaled gradients overflow.
        skip_bad: Leave the weights as they are if loss or gradients are not finite.
        weight: Weight of the batch's loss in the mean over the group: its share of the samples,
            times the number of processes.
        group: Processes that have the other parts of the batch; ``model`` averages their gradients
            (`Group.average_gradients`).

    Returns:
        (loss, whether loss and gradients are finite), both for the whole group, on the device.
    """
    scaler = scaler or torch.amp.GradScaler(batch["inp"].device.type, enabled=False)
    optimizer.zero_grad(set_to_none=True)
    size = len(batch["inp"])
    total = torch.zeros((), device=batch["inp"].device)
    parts = _split(batch, accumulate)
    channel_dim = 1 if batch["gt"].ndim == 4 else 2
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        inp = normalise(part["inp"], data_norm["inp"], 1)
        gt = normalise(part["gt"], data_norm["gt"], channel_dim)
        # Gradients are averaged over the group only once, in the last part.
        with nullcontext() if last else getattr(model, "no_sync", nullcontext)():
            with torch.autocast(inp.device.type, AMP_TYPES[amp or "bf16"], enabled=amp is not None):
                pred = model(inp, part["coord"], part["cell"])
            if pred.shape != gt.shape:
                raise ChannelsError(pred.shape[channel_dim], gt.shape[channel_dim])
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


@contextmanager
def compile_errors() -> Iterator[None]:
    """Turn errors of torch.compile into one line."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise UserError(
            f"compile does not work here: {str(error).splitlines()[0]} (it needs a C++ "
            "compiler, and Triton on a GPU); leave it out"
        ) from None
