"""Make what a config says about optimization: optimizer, loss, learning rate, average."""

from __future__ import annotations

import bisect
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from configs.schema import TrainConfig, WarmupStepLR
from configs.spec import Registry
from errors import UserError
from training.muon import Muon

optimizers = Registry("optimizer")
optimizers.register("adam")(torch.optim.Adam)
optimizers.register("adamw")(torch.optim.AdamW)
optimizers.register("sgd")(torch.optim.SGD)
optimizers.register("muon")(Muon)

Tensors = tuple[Tensor, ...] | list[Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: Mapping[str, Loss] = {"l1": F.l1_loss, "mse": F.mse_loss, "smooth-l1": F.smooth_l1_loss}


def make_optimizer(
    spec: Mapping[str, Any], parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Make the optimizer of a spec, with all parameters in one kernel ("fused") by default.

    Raises:
        UserError: If its arguments are wrong, or exclude each other.
    """
    args = spec.get("args") or {}
    if args.get("differentiable"):
        raise UserError("optimizer.args.differentiable: steps are made in place here; leave it out")
    given = {"params": list(parameters)}
    fused = {"name": spec["name"], "args": {"fused": True, **args}}
    if not {"foreach", "differentiable"} & args.keys():
        spec = spec if optimizers.check(fused, "optimizer", given) else fused
    try:
        return optimizers.make(spec, args=given)
    except RuntimeError as error:
        raise UserError(f"optimizer: {error}") from None


def make_schedule(
    optimizer: torch.optim.Optimizer, config: TrainConfig, steps_per_epoch: int, steps_done: int
) -> LambdaLR:
    """Make the schedule of the learning rate, a function of the optimizer step alone.

    As no rate is derived from the one before, a resumed run cannot decay it twice.

    Args:
        optimizer: Optimizer with the initial rates.
        steps_done: Number of steps done so far.
    """
    total = steps_per_epoch * config.epoch_max

    def factor(step: int) -> float:
        rate = 1.0
        if config.warmup is not None:
            rate = min(1.0, (step + 1) / config.warmup)
        if config.lr_schedule == "cosine":
            rate *= (1 + math.cos(math.pi * min(step / total, 1.0))) / 2
        if config.multi_step_lr is not None:
            milestones = sorted(config.multi_step_lr.milestones)
            passed = bisect.bisect_right(milestones, step // steps_per_epoch)
            rate *= config.multi_step_lr.gamma**passed
        if config.warmup_step_lr is not None:
            rate = _warmup_then_cosine(
                step // steps_per_epoch, config.warmup_step_lr, config.epoch_max
            )
        return rate

    # The schedule goes on even if fp16 or max_skipped skips a step, including the first.
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return LambdaLR(optimizer, factor, last_epoch=steps_done - 1)


def _warmup_then_cosine(epoch: int, warmup: WarmupStepLR, epoch_max: int) -> float:
    """Compute the factor after ``epoch`` epochs, as in SRNO's training."""
    rising, top = warmup.total_epoch, warmup.multiplier
    if epoch <= rising:
        return 1 + (top - 1) * epoch / rising
    return top * (1 + math.cos(math.pi * (epoch - rising) / (epoch_max - rising))) / 2


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """Copy a model to one whose weights are the exponential moving average of its weights.

    After n steps the decay is min(decay, (1 + n) / (10 + n)), as in TensorFlow's
    ExponentialMovingAverage: with a constant decay of 0.999, the untrained weights would still have
    a share of 0.999^1000 = 0.37 after a thousand steps.
    """

    @torch.no_grad()
    def update(averaged: Tensors, trained: Tensors, count: Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(averaged, trained, 1 - min(decay, (1 + n) / (10 + n)))

    return AveragedModel(model, multi_avg_fn=update)
