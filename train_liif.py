"""Train a continuous model from a YAML.

python train_liif.py --config configs/train-div2k/train_edsr-baseline-liif.yaml --gpu 0 --resume
python train_liif.py --config C.yaml --name N --set optimizer.args.lr=2e-4
python train_liif.py --config C.yaml --check
"""

from __future__ import annotations

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before torch, whose import takes seconds

import argparse
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

import datasets
import models
from cli.command import add_gpu_option, choose_devices, outlive_output, run
from configs.load import check_train
from configs.schema import TrainConfig, raise_problems
from configs.source import Source, is_pipe, read_source
from datasets.check import check_images
from datasets.loader import BatchLoader
from errors import UserError
from files.paths import expand
from parallel import Group, joined, start_each
from training.changes import Change, changes_of_run
from training.loaders import digest, make_loaders
from training.log import Log, Silence
from training.loop import Run
from training.preflight import preflight, unused
from training.recipe import optimizers
from training.restore import restore
from training.run_folder import (
    CONFIG,
    checked_name,
    holds_run,
    is_own_checkpoint,
    keep_config,
    locked,
    move_aside,
    set_best_aside,
)
from training.signals import Signals
from training.state import TrainState, versions

REGISTRIES = {"models": models.registry, "datasets": datasets.registry, "optimizers": optimizers}


@dataclass(frozen=True)
class Task:
    """A training that was asked for, after its config was checked.

    Attributes:
        channels: Number of channels of the images, given by the model.
        folder: Folder of the run.
        notes: Lines about parts of the config that have no effect.
    """

    args: argparse.Namespace
    source: Source
    config: TrainConfig
    channels: int
    folder: Path
    notes: list[str]


def main() -> None:
    args = parse_args()
    outlive_output()
    if is_pipe(args.config) and len(choose_devices(args.gpu, quiet=True)) > 1:
        raise UserError(f"--config {args.config}: several processes cannot read a pipe")
    start_each(args.gpu)
    with Signals() as signals, joined(args.gpu) as group:
        folder = run_folder(args)
        task = check(args, read_source(args.config, args.set), folder, group)
        if group.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32, as cuDNN's convolutions by default
        loaders = make_loaders(task.config, task.channels, group)
        if group.world > 1:
            group.agree("config or images", digest(task.source.text, loaders))
        if args.check:
            check_every_image(loaders, group)
            return
        with ExitStack() as held:
            changes = own_folder(task, held) if group.is_first else []
            start(task, changes, loaders, group, signals)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a continuous model from a YAML.")
    parser.add_argument("--config", required=True, metavar="C.yaml")
    parser.add_argument("--name", help="run folder save/NAME; default: _ and the config's name")
    parser.add_argument("--tag", help="appended to the name")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value of the config, such as optimizer.args.lr=2e-4; can be repeated",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--resume", action="store_true", help="continue the run in its folder, or start it"
    )
    group.add_argument(
        "--overwrite", action="store_true", help="start anew; the old run is kept as NAME.old-K"
    )
    group.add_argument(
        "--check",
        action="store_true",
        help="train nothing: check the config, and read all images to find damaged ones",
    )
    parser.add_argument(
        "--force", action="store_true", help="resume with a changed config, which is then applied"
    )
    parser.add_argument(
        "--validate-first", action="store_true", help="validate before the first step, too"
    )
    add_gpu_option(parser)
    return parser.parse_args()


def run_folder(args: argparse.Namespace) -> Path:
    """Choose the folder of this run, below save/.

    Raises:
        UserError: If it would be elsewhere, or has no name.
    """
    if args.name is None and is_pipe(args.config):
        raise UserError(f"--config {args.config}: has no name of its own; give --name")
    name = args.name if args.name is not None else f"_{Path(args.config).stem}"
    return Path("save") / checked_name(name if args.tag is None else f"{name}_{args.tag}")


def check(args: argparse.Namespace, source: Source, folder: Path, group: Group) -> Task:
    """Make the task, after checking everything that needs no images.

    Raises:
        UserError: If there are mistakes, with all of them; or if no option says what to do with a
            run that is already in the folder.
    """
    config, problems = check_train(source.raw, **REGISTRIES)
    notes: list[str] = []
    if config is not None:
        if is_own_checkpoint(config.resume, folder, source.path):
            resume = Path(expand(str(config.resume)))
            of_this = resume.absolute().parent == folder.absolute()
            if not resume.exists() or (args.overwrite and of_this):
                why = "is set aside" if resume.exists() else "does not exist yet"
                notes.append(f"resume: {config.resume}: {why}: the run begins")
                config = config.model_copy(update={"resume": None})
            elif of_this:
                args.resume = True
        notes += unused(config)
    begins = group.is_first and (args.overwrite or not holds_run(folder))
    found, channels = preflight(source.raw, config, begins)
    raise_problems(source, [*problems, *found])
    assert config is not None
    task = Task(args, source, config, channels, folder, notes)
    if group.is_first:
        check_folder(task)
    return task


def check_folder(task: Task) -> list[Change]:
    """List how the config of a run in the folder, if there is one, differs from the task's.

    Raises:
        UserError: If no option says what to do with that run, or with the differences.
    """
    args, folder = task.args, task.folder
    if not holds_run(folder) or args.overwrite or args.check:
        return []
    if not args.resume:
        raise UserError(
            f"{folder}: holds a run; continue it with --resume, start anew with --overwrite "
            "(the old one is kept), or choose another --name"
        )
    return changes_of_run(folder / CONFIG, args.config, task.config, args.force)


def own_folder(task: Task, held: ExitStack) -> list[Change]:
    """Lock the run folder until ``held`` is closed; with --overwrite it is a new one.

    Returns:
        The changes of the config to the run in it.
    """
    held.enter_context(locked(task.folder))
    changes = check_folder(task)
    if holds_run(task.folder) and task.args.overwrite:
        move_aside(task.folder)
        held.enter_context(locked(task.folder))
    return changes


def start(
    task: Task,
    changes: list[Change],
    loaders: tuple[BatchLoader, BatchLoader | None],
    group: Group,
    signals: Signals,
) -> None:
    """Begin or continue the run in its folder, which is locked."""
    config, folder = task.config, task.folder
    torch.manual_seed(config.seed)
    state, saved, resumed = restore(config, group, len(loaders[0]), folder)
    notes = [*task.notes, *state.notes, *(f"changed: {change}" for change in changes)]
    if group.is_first:
        if any(change.of_validation for change in changes):
            notes += set_best_aside(folder)
            state.best = -math.inf
        keep_config(folder, task.source.text)  # only now: it describes the checkpoints
    log = Log(folder, state) if group.is_first else Silence()
    told: set[str] = set()

    def tell(note: str) -> None:
        if note not in told:
            told.add(note)
            log.line(note)

    for loader in filter(None, loaders if group.is_first else ()):
        loader.on_note = tell
    with log:
        for line in dict.fromkeys([*head(task, state, loaders, group), *notes]):
            log.line(line)
        if resumed:
            log.line(f"continued from {resumed} after epoch {state.epoch}, step {state.step}")
            for key, value in versions().items():
                if saved.get(key, value) != value:
                    log.line(f"{key} was {saved[key]}, is {value}: the last bits may differ")
        Run(config, state, loaders, group, folder, log, signals).train(task.args.validate_first)


def check_every_image(loaders: tuple[BatchLoader, BatchLoader | None], group: Group) -> None:
    """Decode all images; raise a `UserError` that names those that cannot be read."""
    if not group.is_first:
        return
    given = [loader for loader in loaders if loader is not None]
    problems = dict.fromkeys(line for loader in given for line in check_images(loader.samples))
    if problems:
        raise UserError("\n".join(problems))
    for note in dict.fromkeys(note for loader in given for note in loader.notes()):
        print(note)
    print("config and images are right: nothing was trained")


def head(
    task: Task,
    state: TrainState,
    loaders: tuple[BatchLoader, BatchLoader | None],
    group: Group,
) -> Iterator[str]:
    """Yield lines about the model, the machine and the samples of a run."""
    parameters = sum(p.numel() for p in state.model.parameters())
    yield f"{task.source.path}: {state.model_spec['name']}, {parameters:,} parameters, on {group}"
    for title, loader in zip(("train", "val"), loaders, strict=True):
        if loader is not None:
            batches = loader.batches
            yield f"{title}: {batches.length:,} samples, {batches.total:,} batches"
            yield from loader.notes()


if __name__ == "__main__":
    run(main)
