"""Train a continuous model from a YAML.

python train_liif.py --config configs/train-div2k/train_edsr-baseline-liif.yaml --gpu 0 --resume
"""

from __future__ import annotations

from configs.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before torch, whose import takes seconds

import argparse
import hashlib
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

import datasets
import models
from configs.command import add_gpu_option, outlive_output, run
from configs.load import load_train
from configs.schema import TrainConfig
from configs.spec import UserError
from datasets.loader import BatchLoader, make_loader
from models.checkpoint import load_checkpoint
from parallel import Group, joined, start_each
from training.log import Log, Silence
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
    outlive_output()
    start_each(args.gpu)
    with Signals() as signals, joined(args.gpu) as group:
        registries = {"models": models.registry, "datasets": datasets.registry}
        config = load_train(args.config, optimizers=optimizers, **registries)
        config_text = Path(args.config).read_bytes()
        if group.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32, as cuDNN's convolutions by default
        name = args.name or f"_{Path(args.config).stem}"
        folder = Path("save") / (f"{name}_{args.tag}" if args.tag else name)
        if group.is_first:
            check_folder(args, folder)  # before images are read
        loaders = make_loaders(config, group)
        if group.world > 1:
            group.agree("config or images", digest(config_text, loaders))
        with ExitStack() as held:
            if group.is_first:
                own_folder(args, folder, held)
                keep_config(folder, config_text)
            start(args, config, loaders, group, folder, signals)


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


def check_folder(args: argparse.Namespace, folder: Path) -> list[str]:
    """How the config of the run in the folder, if there is one, differs from ours.

    Raises:
        UserError: If it was not said what becomes of that run, or of the differences.
    """
    if not holds_run(folder) or args.overwrite:
        return []
    if not args.resume:
        raise UserError(
            f"{folder}: holds a run; continue it with --resume, start anew with --overwrite "
            "(the old one is kept), or choose another --name"
        )
    return refuse_changes(folder, args.config, args.force)


def own_folder(args: argparse.Namespace, folder: Path, held: ExitStack) -> None:
    """Lock the run folder, a new one with --overwrite, until ``held`` is closed."""
    held.enter_context(locked(folder))
    for change in check_folder(args, folder):
        print(f"changed: {change}", file=sys.stderr)
    if holds_run(folder) and args.overwrite:
        move_aside(folder)
        held.enter_context(locked(folder))


def start(
    args: argparse.Namespace,
    config: TrainConfig,
    loaders: tuple[BatchLoader, BatchLoader | None],
    group: Group,
    folder: Path,
    signals: Signals,
) -> None:
    """Begin or continue the run in a folder that is ours."""
    torch.manual_seed(config.seed)
    state, saved, resumed = restore(config, group, len(loaders[0]), folder)
    log = Log(folder, state) if group.is_first else Silence()
    with log:
        for line in head(args, state, loaders, group):
            log.line(line)
        if resumed:
            log.line(f"continued from {resumed} after epoch {state.epoch}, step {state.step}")
            for key, value in versions().items():
                if saved.get(key, value) != value:
                    log.line(f"{key} was {saved[key]}, is {value}: the last bits may differ")
        Run(config, state, loaders, group, folder, log, signals).train()


def restore(
    config: TrainConfig, group: Group, steps_per_epoch: int, folder: Path
) -> tuple[TrainState, dict[str, Any], str]:
    """The state that the run goes on from: read by the first process, the same in all.

    Returns:
        (state, versions that it was saved with, path of the checkpoint or "").
    """
    own = None
    if group.is_first:
        own = first_good(config, group.device, steps_per_epoch, folder)
    checkpoint, path = group.from_first(lambda: own[1:] if own else (None, ""))
    state = own[0] if own else make_state(config, group.device, steps_per_epoch, checkpoint, path)
    if path and path == config.resume:  # another run's
        state.record, state.skipped = {}, 0
    if not (folder / BEST).exists():
        state.best = -math.inf
    return state, dict((checkpoint or {}).get("versions", {})), path


def first_good(
    config: TrainConfig, device: torch.device, steps_per_epoch: int, folder: Path
) -> tuple[TrainState, Mapping[str, Any] | None, str]:
    """The first checkpoint that can be read, with its state and path; a new state if none is there.

    Raises:
        UserError: If there are checkpoints and none is good: a run never silently begins again.
    """
    candidates = [str(path) for path in to_continue(folder)]
    if not candidates and config.resume is not None:
        candidates = [config.resume]
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
        return state, checkpoint, path
    if problems:
        raise UserError("\n".join(problems))
    return make_state(config, device, steps_per_epoch), None, ""


def make_loaders(config: TrainConfig, group: Group) -> tuple[BatchLoader, BatchLoader | None]:
    """Loaders of training and, if configured, validation samples."""
    options: dict[str, Any] = {
        "seed": config.seed,
        "num_workers": config.num_workers,
        "pin_memory": group.device.type == "cuda",
        "group": group,
    }
    train_loader = make_loader(config.train_dataset, shuffle=True, **options)
    if config.val_dataset is None or config.epoch_val is None:
        return train_loader, None
    return train_loader, make_loader(config.val_dataset, **options)


def digest(config_text: bytes, loaders: tuple[BatchLoader, BatchLoader | None]) -> str:
    """Of the config and the names of the images."""
    names = [
        loader.file_name(index)
        for loader in loaders
        if loader is not None
        for index in range(loader.batches.length)
    ]
    return hashlib.sha256(config_text + "\n".join(names).encode()).hexdigest()


def head(
    args: argparse.Namespace,
    state: TrainState,
    loaders: tuple[BatchLoader, BatchLoader | None],
    group: Group,
) -> Iterator[str]:
    """What is trained, on what."""
    parameters = sum(p.numel() for p in state.model.parameters())
    yield f"{args.config}: {state.model_spec['name']}, {parameters:,} parameters, on {group}"
    for title, loader in zip(("train", "val"), loaders, strict=True):
        if loader is not None:
            batches = loader.batches
            yield f"{title}: {batches.length:,} samples, {batches.total:,} batches"


if __name__ == "__main__":
    run(main)
