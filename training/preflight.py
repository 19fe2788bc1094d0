"""What can be found wrong with a training before an image is read."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import datasets
import models
from configs.command import first_line
from configs.paths import expand
from configs.schema import TrainConfig
from configs.spec import UserError
from engine import check_data_norm
from models.base import colour_channels
from models.checkpoint import is_continuous, load_checkpoint
from training.beginning import begin, freeze
from training.changes import norm_of, refuse_other_training
from training.recipe import LOSSES, make_optimizer, optimizers
from training.step import train_step
from utils import make_cell, make_coord

ROOT = Path(__file__).resolve().parents[1]
SIDE, TARGET_SIDE = 8, 16  # of the tiny batch


def preflight(
    raw: Mapping[str, Any], config: TrainConfig | None, begins: bool
) -> tuple[list[str], int]:
    """Make everything that a config names, but for the images, and try a step with a tiny batch.

    Args:
        raw: The mapping of the YAML.
        config: The same, checked; None if it has mistakes, of which these are others.
        begins: Whether the run begins here, from ``resume`` or ``pre_train`` if the config has one.

    Returns:
        (the mistakes, one a line; the channels of the images that the model is for).
    """
    problems = _optimizer_problems(raw.get("optimizer"))
    for key in ("train_dataset", "val_dataset"):
        problems += _data_problems(raw.get(key), key)
    model, channels, found = _make_model(raw.get("model"))
    problems += found
    if config is not None and begins:
        problems += _beginning_problems(config, model)
    if config is not None and model is not None and not problems:
        problems += _step_problems(config, model, channels)
    return problems, channels


def unused(config: TrainConfig) -> Iterator[str]:
    """A line for each key whose value comes to nothing."""
    validates = config.val_dataset is not None and config.epoch_val is not None
    if config.val_dataset is not None and config.epoch_val is None:
        yield "val_dataset is never used: give epoch_val, too"
    if config.epoch_val is not None and config.val_dataset is None:
        yield "epoch_val comes to nothing: there is no val_dataset"
    if validates and config.epoch_val > config.epoch_max:  # type: ignore[operator]
        yield (
            f"val_dataset is never used: epoch_val {config.epoch_val} is more than epoch_max "
            f"{config.epoch_max}"
        )


def _optimizer_problems(spec: Any) -> list[str]:
    if not isinstance(spec, Mapping) or optimizers.check(spec, "optimizer", ("params",)):
        return []  # told already
    try:
        make_optimizer(spec, [nn.Parameter(torch.zeros(2, 2))])
    except UserError as error:
        return _lines("optimizer", error)
    return []


def _make_model(spec: Any) -> tuple[nn.Module | None, int, list[str]]:
    """The model of a spec, its channels, and what is wrong with it."""
    if not isinstance(spec, Mapping) or models.registry.check(spec, "model"):
        return None, 3, []  # told already
    try:
        model = models.make(spec)
        if not is_continuous(model):
            raise UserError(f"model.name: {spec['name']!r} is a part, not a continuous model")
        return model, colour_channels(model), []
    except UserError as error:
        return None, 3, _lines("model", error)


def _data_problems(section: Any, place: str) -> list[str]:
    """Of files that are not there, and of the wrapper's arguments."""
    if not isinstance(section, Mapping):
        return []
    dataset, wrapper = section.get("dataset"), section.get("wrapper")
    problems: list[str] = []
    if isinstance(dataset, Mapping) and isinstance(dataset.get("args"), Mapping):
        problems += _path_problems(dataset["args"], f"{place}.dataset.args")
    if isinstance(wrapper, Mapping) and not datasets.registry.check(wrapper, "", ("dataset",)):
        try:
            datasets.make(wrapper, args={"dataset": _StandIn()})
        except UserError as error:
            problems += _lines(f"{place}.wrapper", error)
    return problems


def _path_problems(args: Mapping[str, Any], place: str) -> Iterator[str]:
    """By the names of the arguments: root_path.. are folders, .._file are files."""
    for key, value in args.items():
        is_folder = key.startswith("root_path")
        if not is_folder and not key.endswith("_file"):
            continue
        for path in value if isinstance(value, list) else [value]:
            there = Path.is_dir if is_folder else Path.is_file
            try:
                missing = isinstance(path, str) and not there(Path(expand(path)))
            except UserError as error:
                yield f"{place}.{key}: {error}"
                continue
            if missing:
                yield f"{place}.{key}: {path}: there is no such {'folder' if is_folder else 'file'}"


def _beginning_problems(config: TrainConfig, model: nn.Module | None) -> list[str]:
    """Of the checkpoints that the run begins with, and of the parts that are frozen."""
    problems = []
    if config.resume is not None:
        try:
            checkpoint = load_checkpoint(config.resume)
            refuse_other_training(checkpoint, config, config.resume)
        except UserError as error:
            problems += _lines("resume", error)
        except (KeyError, TypeError, AttributeError):
            problems.append(f"resume: {config.resume}: holds no training state to resume")
    if model is None:
        return problems
    for key in ("pre_train", "freeze"):
        try:
            if key == "freeze":
                freeze(model, config.freeze)
            elif config.pre_train is not None:
                begin(model, config.pre_train, norm_of(config))
        except UserError as error:
            problems += _lines(key, error)
    return problems


def _step_problems(config: TrainConfig, model: nn.Module, channels: int) -> list[str]:
    """What one step with a tiny batch says."""
    coord = make_coord((TARGET_SIDE, TARGET_SIDE)).unsqueeze(0)
    batch = {
        "inp": torch.rand(1, channels, SIDE, SIDE),
        "coord": coord,
        "cell": make_cell((TARGET_SIDE, TARGET_SIDE)).expand_as(coord),
        "gt": torch.rand(1, coord.shape[1], channels),
    }
    try:
        check_data_norm(norm_of(config), channels)
        train_step(
            model.train(),
            make_optimizer(config.optimizer, model.parameters()),
            batch,
            norm_of(config),
            loss=LOSSES[config.loss],
            grad_clip=config.grad_clip,
            amp=config.amp,
        )
    except UserError as error:
        return _lines("model", error)
    except Exception as error:  # whatever a model does wrong is said before images are read
        return [
            f"model: cannot be trained: {type(error).__name__}: {first_line(error)} "
            f"({_place_of(error)})"
        ]
    return []


def _place_of(error: Exception) -> str:
    """The innermost line of this project that an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f for f in frames if Path(f.filename).is_relative_to(ROOT) and ".venv" not in f.filename
    ]
    return f"{Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno}"


def _lines(place: str, error: UserError) -> list[str]:
    return [
        line if line.startswith(place) else f"{place}: {line}" for line in str(error).splitlines()
    ]


class _StandIn(Dataset[Tensor]):
    """No images: a wrapper is made to check its arguments."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Tensor:
        return torch.zeros(3, 1, 1)
