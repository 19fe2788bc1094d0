"""The complete state of a training run at one moment."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

import models
from configs.schema import TrainConfig
from errors import UserError
from models.checkpoint import model_from
from training.beginning import begin, freeze
from training.changes import norm_of, refuse_other_training
from training.moments import restore_moments
from training.recipe import make_average, make_optimizer, make_schedule

Record = dict[str, float | int]


@dataclass
class TrainState:
    """The state of a training between two optimizer steps: all that the next ones depend on.

    Attributes:
        average: Averaged model of ``ema``.
        epoch: Number of complete epochs, including their validation.
        step: Number of optimizer steps done in the current epoch.
        best: Best validation PSNR.
        loss_sum, samples: Sum of losses, and number of samples, in the current epoch.
        rate: Learning rate of the last step.
        skipped: Number of steps skipped because a number was not finite.
        record: Logged values of the last complete epoch.
        notes: Lines for the log about how the state was made.
    """

    model: nn.Module
    model_spec: dict[str, Any]
    optimizer: torch.optim.Optimizer
    optimizer_spec: dict[str, Any]
    schedule: LambdaLR
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    steps_per_epoch: int
    epoch: int = 0
    step: int = 0
    best: float = -math.inf
    loss_sum: float = 0.0
    samples: int = 0
    skipped: int = 0
    rate: float = 0.0
    record: Record = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def rendering(self) -> nn.Module:
        """The model to validate and to render with."""
        return self.model if self.average is None else self.average.module

    def checkpoint(self, config: TrainConfig) -> dict[str, Any]:
        """Make the checkpoint to write, with the published keys first."""
        saved = {
            "model": {**self.model_spec, "sd": self.rendering.state_dict()},
            "optimizer": {**self.optimizer_spec, "sd": self.optimizer.state_dict()},
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
            "loss_sum": self.loss_sum,
            "samples": self.samples,
            "skipped": self.skipped,
            "rate": self.rate,
            "record": self.record,
            "batch_size": config.train_dataset.batch_size,
            "steps_per_epoch": self.steps_per_epoch,
            "data_norm": norm_of(config),
            "seed": config.seed,
            "scaler": self.scaler.state_dict(),
            "versions": versions(),
        }
        if trains_to_restore(config):
            saved["restores"] = True
        if self.average is not None:
            saved["trained_sd"] = self.model.state_dict()
            saved["averaged"] = int(self.average.n_averaged)
        return saved

    def is_finite(self) -> bool:
        """Check whether all weights are finite."""
        floats = [p for p in self.model.state_dict().values() if p.is_floating_point()]
        return all(bool(torch.isfinite(p).all()) for p in floats)


def trains_to_restore(config: TrainConfig) -> bool:
    """Check whether the inputs of a training are degraded, some of them at scale 1."""
    wrapper = config.train_dataset.wrapper
    args = wrapper.get("args") or {}
    degraded = wrapper["name"] == "sr-implicit-degraded" and (args.get("low") or args.get("high"))
    return bool(degraded) and args.get("scale_min", 1) == 1


def versions() -> dict[str, str | int]:
    """Collect what the last bits of a result depend on, besides config and seed."""
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "gpu": cuda,
        "threads": torch.get_num_threads(),
        "processes": dist.get_world_size() if dist.is_initialized() else 1,
    }


def make_state(
    config: TrainConfig,
    device: torch.device,
    steps_per_epoch: int,
    checkpoint: Mapping[str, Any] | None = None,
    path: str = "",
) -> TrainState:
    """Make a new training state, or that of a checkpoint, which may be from the published code.

    The weights, the optimizer's moments and the progress come from the checkpoint; everything else,
    such as the learning rate, follows from the config and the number of steps done.

    Raises:
        UserError: If the checkpoint is damaged, or has no training state, or one of another model,
            optimizer or normalisation.
    """
    if checkpoint is None:
        model, notes = models.make(config.model), []
        if config.pre_train is not None:
            notes = begin(model, config.pre_train, norm_of(config))
        state = _assemble(config, device, steps_per_epoch, model)
        state.notes = notes
        return state
    try:
        return _restore(config, device, steps_per_epoch, checkpoint, path)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError):
        raise UserError(
            f"{path}: holds no training state to resume (model, optimizer, epoch)"
        ) from None


def _assemble(
    config: TrainConfig,
    device: torch.device,
    steps_per_epoch: int,
    model: nn.Module,
    steps_done: int = 0,
) -> TrainState:
    model.to(device)
    freeze(model, config.freeze)
    optimizer = make_optimizer(config.optimizer, model.parameters())
    average = None if config.ema is None else make_average(model, config.ema)
    return TrainState(
        model,
        config.model,
        optimizer,
        config.optimizer,
        make_schedule(optimizer, config, steps_per_epoch, steps_done),
        torch.amp.GradScaler(device.type, enabled=config.amp == "fp16"),
        average,
        steps_per_epoch,
    )


def _restore(
    config: TrainConfig,
    device: torch.device,
    steps_per_epoch: int,
    checkpoint: Mapping[str, Any],
    path: str,
) -> TrainState:
    model = model_from(checkpoint, path)
    refuse_other_training(checkpoint, config, path)
    notes = []
    epoch, step = int(checkpoint["epoch"]), int(checkpoint.get("step", 0))
    if step and not _same_batches(config, steps_per_epoch, checkpoint):
        notes.append(f"{path}: the batches have changed: epoch {epoch + 1} begins again")
        checkpoint = {**checkpoint, "loss_sum": 0.0, "samples": 0}
        step = 0
    if epoch < 0 or not 0 <= step <= steps_per_epoch:
        raise KeyError("epoch")
    done = epoch * steps_per_epoch + step
    state = _assemble(config, device, steps_per_epoch, model, done)
    state.notes = notes
    state.epoch, state.step = epoch, step
    state.best = float(checkpoint.get("best", -math.inf))
    state.loss_sum = float(checkpoint.get("loss_sum", 0.0))
    state.samples = int(checkpoint.get("samples", 0))
    state.skipped = int(checkpoint.get("skipped", 0))
    state.rate = float(checkpoint.get("rate", 0.0))
    state.record = dict(checkpoint.get("record", {}))
    if "trained_sd" in checkpoint:
        if state.average is not None:
            state.average.n_averaged.fill_(checkpoint["averaged"])
        model.load_state_dict(checkpoint["trained_sd"])
    moments, names = checkpoint["optimizer"]["sd"], list(checkpoint["model"]["sd"])
    restore_moments(state.optimizer, model, moments, names, path)
    if state.scaler.is_enabled() and checkpoint.get("scaler"):
        state.scaler.load_state_dict(checkpoint["scaler"])
    return state


def _same_batches(config: TrainConfig, steps_per_epoch: int, checkpoint: Mapping[str, Any]) -> bool:
    saved = (checkpoint.get("batch_size"), checkpoint.get("steps_per_epoch"))
    return saved == (config.train_dataset.batch_size, steps_per_epoch)
