"""Train a continuous model from a YAML.

python train_liif.py --config configs/train-div2k/train_edsr-baseline-liif.yaml --gpu 0
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tensorboardX import SummaryWriter
from torch import nn

import datasets
import models
from configs import load_train
from configs.command import add_gpu_option, choose_devices, run
from configs.files import written_whole
from configs.schema import MultiStepLR, TrainConfig
from configs.spec import UserError
from datasets.loader import BatchLoader, make_loader
from engine import (
    IDENTITY_NORM,
    DataNorm,
    eval_psnr,
    make_optimizer,
    optimizers,
    train_one_epoch,
)
from models.checkpoint import is_continuous, load_checkpoint, model_from, save_checkpoint


@dataclass
class TrainState:
    """What a run is at the end of an epoch."""

    model: nn.Module
    model_spec: dict[str, Any]
    optimizer: torch.optim.Optimizer
    optimizer_spec: dict[str, Any]
    scheduler: torch.optim.lr_scheduler.MultiStepLR | None
    scaler: torch.amp.GradScaler
    epoch: int = 0
    best: float = -math.inf

    def checkpoint(self, data_norm: DataNorm, seed: int) -> dict[str, Any]:
        """What is written to disk; the contract's keys first."""
        return {
            "model": {**self.model_spec, "sd": self.model.state_dict()},
            "optimizer": {**self.optimizer_spec, "sd": self.optimizer.state_dict()},
            "epoch": self.epoch,
            "best": self.best,
            "data_norm": data_norm,
            "seed": seed,
            "scaler": self.scaler.state_dict(),
        }


def main() -> None:
    args = parse_args()
    registries = {"models": models.registry, "datasets": datasets.registry}
    config = load_train(args.config, optimizers=optimizers, **registries)
    config_text = Path(args.config).read_bytes()
    devices = choose_devices(args.gpu)
    if devices[0].type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, as cuDNN's convolutions by default
    name = args.name or f"_{Path(args.config).stem}"
    folder = Path("save") / (f"{name}_{args.tag}" if args.tag else name)
    checkpoint = find_checkpoint(folder, config, args.resume, args.overwrite)

    torch.manual_seed(config.seed)
    state = make_state(config, devices[0], *checkpoint)
    loaders = make_loaders(config, devices[0])
    open_folder(folder, config_text, args.overwrite)
    with Log(folder) as log:
        describe(log, args, state, loaders, devices, checkpoint[1])
        train(config, state, loaders, devices, folder, log)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a continuous model from a YAML.")
    parser.add_argument("--config", required=True, metavar="C.yaml")
    parser.add_argument("--name", help="run folder save/NAME; default: _ and the config's name")
    parser.add_argument("--tag", help="appended to the name")
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in its folder, or start it"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="start anew; the old run is kept as NAME.old-K"
    )
    add_gpu_option(parser)
    return parser.parse_args()


def holds_run(folder: Path) -> bool:
    """Whether a run has got as far as a checkpoint there."""
    return any(folder.glob("epoch-*.pth"))


def find_checkpoint(
    folder: Path, config: TrainConfig, resume: bool, overwrite: bool
) -> tuple[dict[str, Any] | None, str]:
    """What to continue from: the run folder's last checkpoint, that of the YAML, or nothing.

    Returns:
        (checkpoint or None, its path).

    Raises:
        UserError: If the folder holds a run and it was not said what becomes of it.
    """
    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is in the way of the run folder; choose another --name")
    last = folder / "epoch-last.pth"
    if holds_run(folder):
        if resume and last.exists():
            return load_checkpoint(last), str(last)
        if not resume and not overwrite:
            raise UserError(
                f"{folder}: holds a run; continue it with --resume, start anew with --overwrite "
                "(the old one is kept), or choose another --name"
            )
    return (load_checkpoint(config.resume), config.resume) if config.resume else (None, "")


def make_state(
    config: TrainConfig, device: torch.device, checkpoint: dict[str, Any] | None, path: str
) -> TrainState:
    """A new training state, or that of a checkpoint, which may be of the published code.

    Model and optimizer of a checkpoint are made by its own specs; the learning rate follows from
    the config's schedule and the checkpoint's epoch.
    """
    if checkpoint is None:
        model, model_spec = models.make(config.model), config.model
        if not is_continuous(model):
            raise UserError(f"model.name: {model_spec['name']!r} is a part, not a continuous model")
        optimizer_spec = config.optimizer
    else:
        try:
            model = model_from(checkpoint, path)
            model_spec, optimizer_spec = (
                {"name": spec["name"], "args": spec.get("args") or {}}
                for spec in (checkpoint["model"], checkpoint["optimizer"])
            )
            epoch, optimizer_sd = int(checkpoint["epoch"]), checkpoint["optimizer"]["sd"]
            best = float(checkpoint.get("best", -math.inf))
            scaler_sd = checkpoint.get("scaler")
            if epoch < 0:
                raise KeyError("epoch")
        except UserError:
            raise
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{path}: holds no training state to resume (model, optimizer, epoch)"
            ) from None
    model.to(device)
    optimizer = make_optimizer(optimizer_spec, model.parameters())
    scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
    state = TrainState(model, model_spec, optimizer, optimizer_spec, None, scaler)
    rates = [group["lr"] for group in optimizer.param_groups]
    if checkpoint is not None:
        try:
            for group in optimizer_sd["param_groups"]:
                group["fused"] = optimizer.defaults.get("fused")  # published runs were not
            optimizer.load_state_dict(optimizer_sd)
            if scaler_sd and scaler.is_enabled():
                scaler.load_state_dict(scaler_sd)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: the optimizer's state does not fit: {error}") from None
        state.epoch, state.best = epoch, best
    state.scheduler = make_scheduler(optimizer, rates, config.multi_step_lr, state.epoch)
    return state


def make_scheduler(
    optimizer: torch.optim.Optimizer,
    rates: list[float],
    schedule: MultiStepLR | None,
    epochs_done: int,
) -> torch.optim.lr_scheduler.MultiStepLR | None:
    """The schedule after some epochs, from the initial rates and not from the optimizer's.

    A resumed optimizer's rates have decayed already; stepping from them would decay them twice.
    """
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = group["initial_lr"] = rate
    if schedule is None:
        return None
    with warnings.catch_warnings():  # of steps of the schedule without one of the optimizer
        warnings.simplefilter("ignore", UserWarning)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(
            optimizer, schedule.milestones, schedule.gamma
        )
        for _ in range(epochs_done):
            scheduler.step()
    return scheduler


def make_loaders(
    config: TrainConfig, device: torch.device
) -> tuple[BatchLoader, BatchLoader | None]:
    """Loaders of training and, if configured, validation samples."""
    options: dict[str, Any] = {
        "seed": config.seed,
        "num_workers": config.num_workers,
        "pin_memory": device.type == "cuda",
    }
    train_loader = make_loader(config.train_dataset, shuffle=True, **options)
    if config.val_dataset is None or config.epoch_val is None:
        return train_loader, None
    return train_loader, make_loader(config.val_dataset, **options)


def open_folder(folder: Path, config_text: bytes, overwrite: bool) -> None:
    """Make the run folder and put the config into it; an old run is moved aside, never deleted."""
    if overwrite and holds_run(folder):
        number = 1
        while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
            number += 1
        folder.rename(aside)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / "config.yaml") as file:
        file.write(config_text)


class Log:
    """Lines to the terminal and log.txt, numbers to TensorBoard."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "log.txt").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"))

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()
        self._file.close()

    def line(self, text: str) -> None:
        print(text, flush=True)
        print(text, file=self._file, flush=True)

    def scalar(self, name: str, value: float, epoch: int) -> None:
        self._board.add_scalar(name, value, epoch)
        self._board.flush()


def describe(
    log: Log,
    args: argparse.Namespace,
    state: TrainState,
    loaders: tuple[BatchLoader, BatchLoader | None],
    devices: list[torch.device],
    resumed: str,
) -> None:
    """The head of a run's log: what is trained, on what, and from where."""
    parameters = sum(p.numel() for p in state.model.parameters())
    names = ", ".join(map(str, devices))
    log.line(f"{args.config}: {state.model_spec['name']}, {parameters:,} parameters, on {names}")
    for title, loader in zip(("train", "val"), loaders, strict=True):
        if loader is not None:
            log.line(f"{title}: {len(loader.dataset):,} samples, {len(loader):,} batches")  # type: ignore[arg-type]
    if resumed:
        log.line(f"continued from {resumed} after epoch {state.epoch}")


def train(
    config: TrainConfig,
    state: TrainState,
    loaders: tuple[BatchLoader, BatchLoader | None],
    devices: list[torch.device],
    folder: Path,
    log: Log,
) -> None:
    """The epochs that are left, each followed by its checkpoints and, when due, validation."""
    train_loader, val_loader = loaders
    norm = config.data_norm.model_dump() if config.data_norm else IDENTITY_NORM
    trained: Any = nn.DataParallel(state.model, devices) if len(devices) > 1 else state.model
    if config.compile:
        trained = torch.compile(trained)
    first = state.epoch + 1
    begun = time.monotonic()
    for epoch in range(first, config.epoch_max + 1):
        started = time.monotonic()
        log.scalar("lr", state.optimizer.param_groups[0]["lr"], epoch)
        train_loader.set_epoch(epoch - 1)
        with compile_errors():
            loss = train_one_epoch(
                trained,
                train_loader,
                state.optimizer,
                norm,
                device=devices[0],
                title=f"epoch {epoch}/{config.epoch_max}",
                grad_clip=config.grad_clip,
                amp=config.amp,
                scaler=state.scaler,
            )
        if state.scheduler is not None:
            state.scheduler.step()
        state.epoch = epoch
        log.scalar("loss/train", loss, epoch)
        report = f"epoch {epoch}/{config.epoch_max}, train: loss={loss:.4f}"
        improved = False
        if val_loader is not None and epoch % (config.epoch_val or 1) == 0:
            try:
                psnr = eval_psnr(
                    val_loader, state.model, norm, config.eval_type, config.eval_bsize, verbose=True
                )
            except BaseException:  # whatever it is, the epoch's training is not lost
                save(config, state, norm, folder, improved=False)
                raise
            log.scalar("psnr/val", psnr, epoch)
            report += f", val: psnr={psnr:.4f}"
            improved = psnr > state.best
            state.best = max(state.best, psnr)
        save(config, state, norm, folder, improved)
        now = time.monotonic()
        left = (now - begun) / (epoch - first + 1) * (config.epoch_max - epoch)
        log.line(f"{report}, {now - started:.1f}s, {_clock(left)} left")


@contextmanager
def compile_errors() -> Iterator[None]:
    """What torch.compile could not do, in one line."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise UserError(
            f"compile: true does not work here: {str(error).splitlines()[0]} (it needs a C++ "
            "compiler, and Triton on a GPU); leave it out"
        ) from None


def save(
    config: TrainConfig, state: TrainState, norm: DataNorm, folder: Path, improved: bool
) -> None:
    """epoch-last.pth always; epoch-best.pth and epoch-N.pth when due."""
    names = ["epoch-best.pth"] if improved else []
    if config.epoch_save and state.epoch % config.epoch_save == 0:
        names.append(f"epoch-{state.epoch}.pth")
    checkpoint = state.checkpoint(norm, config.seed)
    for name in [*names, "epoch-last.pth"]:  # last, so that a kill in between repeats the epoch
        save_checkpoint(folder / name, checkpoint)


def _clock(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f}h"
    return f"{seconds / 60:.1f}m" if seconds >= 60 else f"{seconds:.0f}s"


if __name__ == "__main__":
    run(main)
