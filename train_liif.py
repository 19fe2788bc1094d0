"""Train a continuous model from a YAML.

python train_liif.py --config configs/train-div2k/train_edsr-baseline-liif.yaml --gpu 0 --resume
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import datasets
import models
from configs import load_train
from configs.command import add_gpu_option, choose_devices, run
from configs.schema import TrainConfig
from configs.spec import UserError
from datasets.loader import BatchLoader, make_loader
from models.checkpoint import load_checkpoint
from training.log import Log
from training.loop import Run
from training.recipe import optimizers
from training.run_folder import (
    BEST,
    holds_run,
    keep_config,
    locked,
    move_aside,
    refuse_changes,
    to_continue,
)
from training.signals import Signals
from training.state import TrainState, make_state, versions


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
    check_folder(args, folder)
    with Signals() as signals:
        loaders = make_loaders(config, devices[0], signals)
        with locked(folder):
            check_folder(args, folder)
            if not (holds_run(folder) and args.overwrite):
                start(args, config, config_text, loaders, devices, folder, signals)
                return
            move_aside(folder)
            with locked(folder):
                start(args, config, config_text, loaders, devices, folder, signals)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a continuous model from a YAML.")
    parser.add_argument("--config", required=True, metavar="C.yaml")
    parser.add_argument("--name", help="run folder save/NAME; default: _ and the config's name")
    parser.add_argument("--tag", help="appended to the name")
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--resume", action="store_true", help="continue the run in its folder, or start it"
    )
    group.add_argument(
        "--overwrite", action="store_true", help="start anew; the old run is kept as NAME.old-K"
    )
    parser.add_argument(
        "--force", action="store_true", help="resume although the config has changed"
    )
    add_gpu_option(parser)
    return parser.parse_args()


def check_folder(args: argparse.Namespace, folder: Path) -> None:
    """Raise a `UserError` if the folder holds a run and it was not said what becomes of it."""
    if not holds_run(folder) or args.overwrite:
        return
    if not args.resume:
        raise UserError(
            f"{folder}: holds a run; continue it with --resume, start anew with --overwrite "
            "(the old one is kept), or choose another --name"
        )
    refuse_changes(folder, args.config, args.force)


def start(
    args: argparse.Namespace,
    config: TrainConfig,
    config_text: bytes,
    loaders: tuple[BatchLoader, BatchLoader | None],
    devices: list[torch.device],
    folder: Path,
    signals: Signals,
) -> None:
    """Begin or continue the run in a folder that is ours."""
    candidates = [str(path) for path in to_continue(folder)]
    others = not candidates and config.resume is not None
    if not candidates and config.resume is not None:
        candidates = [config.resume]
    torch.manual_seed(config.seed)
    state, saved, resumed = restore(config, devices[0], len(loaders[0]), candidates)
    if others:  # another run's
        state.record, state.skipped = {}, 0
    if not (folder / BEST).exists():
        state.best = -math.inf
    keep_config(folder, config_text)
    with Log(folder, state) as log:
        for line in head(args, state, loaders, devices):
            log.line(line)
        if resumed:
            log.line(f"continued from {resumed} after epoch {state.epoch}, step {state.step}")
            for key, value in versions().items():
                if saved.get(key, value) != value:
                    log.line(f"{key} was {saved[key]}, is {value}: the last bits may differ")
        Run(config, state, loaders, devices, folder, log, signals).train()


def restore(
    config: TrainConfig, device: torch.device, steps_per_epoch: int, candidates: list[str]
) -> tuple[TrainState, dict[str, Any], str]:
    """The state of the first checkpoint that can be read; a new one if there are none to read.

    Returns:
        (state, versions that it was saved with, path).

    Raises:
        UserError: If there are checkpoints and none is good: a run never silently begins again.
    """
    problems = []
    for path in candidates:
        try:
            checkpoint = load_checkpoint(path)
            state = make_state(config, device, steps_per_epoch, checkpoint, path)
        except UserError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            print(f"{problem}; taking {path} instead", file=sys.stderr)
        return state, dict(checkpoint.get("versions", {})), path
    if problems:
        raise UserError("\n".join(problems))
    return make_state(config, device, steps_per_epoch), {}, ""


def make_loaders(
    config: TrainConfig, device: torch.device, signals: Signals
) -> tuple[BatchLoader, BatchLoader | None]:
    """Loaders of training and, if configured, validation samples."""
    options: dict[str, Any] = {
        "seed": config.seed,
        "num_workers": config.num_workers,
        "pin_memory": device.type == "cuda",
    }
    train_loader = make_loader(config.train_dataset, shuffle=True, **options)
    signals.check()
    if config.val_dataset is None or config.epoch_val is None:
        return train_loader, None
    val_loader = make_loader(config.val_dataset, **options)
    signals.check()
    return train_loader, val_loader


def head(
    args: argparse.Namespace,
    state: TrainState,
    loaders: tuple[BatchLoader, BatchLoader | None],
    devices: list[torch.device],
) -> Iterator[str]:
    """What is trained, on what."""
    parameters = sum(p.numel() for p in state.model.parameters())
    names = ", ".join(map(str, devices))
    yield f"{args.config}: {state.model_spec['name']}, {parameters:,} parameters, on {names}"
    for title, loader in zip(("train", "val"), loaders, strict=True):
        if loader is not None:
            yield f"{title}: {loader.batches.length:,} samples, {len(loader):,} batches"


if __name__ == "__main__":
    run(main)
