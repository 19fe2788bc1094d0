"""Find mistakes in a training config before any image is read."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import datasets
import models
from cli.command import first_line
from configs.schema import TrainConfig
from engine import check_data_norm
from errors import UserError
from files.paths import expand, is_path
from models.channels import colour_channels
from models.checkpoint import checkpoint_file, load_checkpoint
from models.published import is_continuous
from training.beginning import begin, freeze
from training.changes import norm_of, refuse_other_training
from training.recipe import LOSSES, make_optimizer, optimizers
from training.step import train_step
from utils import make_cell, make_coord

ROOT = Path(__file__).resolve().parents[1]
SIDE, TARGET_SIDE = 8, 16  # input and target side of the tiny batch


def preflight(
    raw: Mapping[str, Any], config: TrainConfig | None, begins: bool
) -> tuple[list[str], int]:
    """Make everything that a config names, except the images, and try a step with a tiny batch.

    Args:
        raw: Mapping read from the YAML.
        config: Checked config; None if it has mistakes, which are reported elsewhere.
        begins: Whether the run begins now, from ``resume`` or ``pre_train`` if the config has one.

    Returns:
        (further mistakes, one per line; number of channels of the images that the model is for).
    """
    model, channels, problems = _make_model(raw.get("model"))
    problems += _optimizer_problems(raw.get("optimizer"))
    for key in ("train_dataset", "val_dataset"):
        problems += _data_problems(raw.get(key), key)
        problems += _channel_problems(raw.get(key), key, channels) if model else []
    if begins:
        problems += _beginning_problems(raw, config, model)
    if model is not None and _are_texts(raw.get("freeze")):
        problems += _problem_in("freeze", lambda: freeze(model, raw["freeze"]))
    if config is not None and model is not None and not problems:
        problems += _step_problems(config, model, channels)
    return problems, channels


def unused(config: TrainConfig) -> Iterator[str]:
    """Yield a line for each key whose value has no effect."""
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
        return []  # already reported
    try:
        make_optimizer(spec, [nn.Parameter(torch.zeros(2, 2))])
    except UserError as error:
        return _lines("optimizer", error)
    return []


def _make_model(spec: Any) -> tuple[nn.Module | None, int, list[str]]:
    """Make the model of a spec, and return it with its channels and any mistakes in it."""
    if not isinstance(spec, Mapping) or models.registry.check(spec, "model"):
        return None, 3, []  # already reported
    try:
        model = models.make(spec)
        if not is_continuous(model):
            raise UserError(f"model.name: {spec['name']!r} is a part, not a continuous model")
        return model, colour_channels(model), []
    except UserError as error:
        return None, 3, _lines("model", error)


def _data_problems(section: Any, place: str) -> list[str]:
    """Find missing files, and mistakes in the wrapper's arguments."""
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
    """Find missing paths among arguments: root_path.. are folders, .._file are files."""
    for key, value in args.items():
        if not is_path(key):
            continue
        is_folder = key.startswith("root_path")
        for path in value if isinstance(value, list) else [value]:
            there = Path.is_dir if is_folder else Path.is_file
            try:
                missing = isinstance(path, str) and not there(Path(expand(path)))
            except UserError as error:
                yield f"{place}.{key}: {error}"
                continue
            if missing:
                yield f"{place}.{key}: {path}: there is no such {'folder' if is_folder else 'file'}"


def _channel_problems(section: Any, place: str, channels: int) -> Iterator[str]:
    """Find datasets configured for another number of channels than the model."""
    dataset = section.get("dataset") if isinstance(section, Mapping) else None
    args = dataset.get("args") if isinstance(dataset, Mapping) else None
    given = args.get("channels", channels) if isinstance(args, Mapping) else channels
    if given != channels:
        yield (
            f"{place}.dataset.args.channels: is {given}, and the model is for {channels}, as "
            "out_dim of its decoder says"
        )


def _beginning_problems(
    raw: Mapping[str, Any], config: TrainConfig | None, model: nn.Module | None
) -> list[str]:
    """Find mistakes in the checkpoints that the run begins with."""
    problems = []
    resume, pre_train = (
        (raw.get("resume"), raw.get("pre_train"))
        if config is None
        else (config.resume, config.pre_train)
    )
    if isinstance(resume, str):
        problems += _problem_in("resume", lambda: _check_resume(resume, config))
    if model is None or config is None:
        paths = pre_train.values() if isinstance(pre_train, Mapping) else [pre_train]
        for path in paths:
            if isinstance(path, str) and not checkpoint_file(path).is_file():
                problems.append(f"pre_train: {path}: there is no such file")
    elif config.pre_train is not None:
        given = config.pre_train
        problems += _problem_in("pre_train", lambda: begin(model, given, norm_of(config)))
    return problems


def _check_resume(path: str, config: TrainConfig | None) -> None:
    checkpoint = load_checkpoint(path)
    if config is None:
        return
    try:
        refuse_other_training(checkpoint, config, path)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: holds no training state to resume") from None


def _problem_in(key: str, check: Callable[[], Any]) -> list[str]:
    """Run a check of a key, and return the lines of the error that it raises."""
    try:
        check()
    except UserError as error:
        return _lines(key, error)
    return []


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _step_problems(config: TrainConfig, model: nn.Module, channels: int) -> list[str]:
    """Try one step with a tiny batch, and return what goes wrong."""
    coord = make_coord((TARGET_SIDE, TARGET_SIDE)).unsqueeze(0)
    batch = {
        "inp": torch.rand(1, channels, SIDE, SIDE),
        "coord": coord,
        "cell": make_cell((TARGET_SIDE, TARGET_SIDE)).expand_as(coord),
        "gt": torch.rand(1, coord.shape[1], channels),
    }
    norm = norm_of(config)
    if problems := _problem_in("data_norm", lambda: check_data_norm(norm, channels)):
        return problems
    try:
        train_step(
            model.train(),
            make_optimizer(config.optimizer, model.parameters()),
            batch,
            norm,
            loss=LOSSES[config.loss],
            grad_clip=config.grad_clip,
            amp=config.amp,
        )
    except UserError as error:
        return _lines("model", error)
    except Exception as error:  # report whatever a model does wrong before images are read
        return [
            f"model: cannot be trained: {type(error).__name__}: {first_line(error)} "
            f"({_place_of(error)})"
        ]
    return []


def _place_of(error: Exception) -> str:
    """Find the innermost line of this project that an error came from."""
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
    """A dataset without real images, used to check the arguments of a wrapper."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Tensor:
        return torch.zeros(3, 1, 1)
