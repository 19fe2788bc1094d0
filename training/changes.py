"""Find what a config changes in a run that has begun, and refuse what it must not change."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import models
from configs.schema import TrainConfig, parse_section, per_channel
from configs.spec import Registry
from configs.yaml_file import read_yaml
from engine import IDENTITY_NORM, DataNorm
from errors import UserError
from files.paths import expand, is_path
from models.checkpoint import norm_in
from training.recipe import optimizers

# Keys that affect neither a weight nor a measured value.
WITHOUT_EFFECT = {
    "resume",  # not read again once a run has begun
    "pre_train",  # nor is this
    "num_workers",
    "skip_unreadable",
    "eval_bsize",
    "save_every",
    "epoch_save",
    "epoch_val",
    "val_dataset.batch_size",
    "train_dataset.dataset.args.cache",
    "val_dataset.dataset.args.cache",
    "optimizer.args.fused",
    "optimizer.args.foreach",
}
# Keys that the weights and the optimizer's moments depend on.
FIXED = ("model", "data_norm", "optimizer.name", "optimizer.args.amsgrad")
UNKNOWN = "config.yaml"  # stands for the key if the old config is unreadable
VALIDATION = ("val_dataset", "eval_type", UNKNOWN)  # keys that change the measured PSNR


class Change(NamedTuple):
    """A changed key of a config, with its old and new value."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: was {_short(self.old)}, is {_short(self.new)}"

    def within(self, keys: Collection[str]) -> bool:
        """Check whether the key is one of ``keys``, or below one of them."""
        return any(self.key == key or self.key.startswith(f"{key}.") for key in keys)

    @property
    def of_validation(self) -> bool:
        """Whether the change makes a PSNR that cannot be compared with earlier ones."""
        return self.within(VALIDATION) and not self.within(WITHOUT_EFFECT)


def norm_of(config: TrainConfig) -> DataNorm:
    return config.data_norm.model_dump() if config.data_norm else IDENTITY_NORM


def changes_of_run(begun: Path, config_path: str, config: TrainConfig, force: bool) -> list[Change]:
    """List the differences between the config and the one that a run began with.

    Args:
        begun: Path of the config in the run folder; if it does not exist, there are no differences.
        config_path: Path of the config, for messages.
        force: Allow changes to what the run computes.

    Raises:
        UserError: If there are such changes without ``force``, or changes that no run can go on
            with.
    """
    if not begun.exists():
        return []
    try:
        raw = read_yaml(begun)
        old, problems = parse_section(TrainConfig, raw)
    except UserError as error:
        problems = [str(error)]
    if problems:
        if force:
            return [Change(UNKNOWN, "unreadable", config_path)]
        raise UserError(
            f"{begun}: cannot be compared with {config_path}: {problems[0]}; continue the run all "
            "the same with --force"
        )
    changes = list(_differences(_comparable(old), _comparable(config)))
    _refuse_fixed(
        changes,
        f"{config_path}: the run in {begun.parent} cannot go on with",
        f"choose another --name, and begin with pre_train: {begun.parent}/epoch-last.pth if the "
        "weights are to be kept",
    )
    asked = [change for change in changes if not _is_free(change, config)]
    if asked and not force:
        raise UserError(
            "\n".join(
                [
                    f"{config_path}: the run in {begun.parent} began with another config:",
                    *map(str, asked),
                    "go on with the new values with --force, or choose another --name",
                ]
            )
        )
    return changes


def refuse_other_training(checkpoint: Mapping[str, Any], config: TrainConfig, path: str) -> None:
    """Refuse a checkpoint whose model, optimizer or normalisation differs from the config's.

    Args:
        checkpoint: Checkpoint whose model and optimizer have known names.
        path: Path of the checkpoint, for messages.

    Raises:
        UserError: If there are differences, with all of them; changes that a run can apply do not
            count.
    """
    saved: dict[str, Any] = {
        key: {"name": checkpoint[key]["name"], "args": checkpoint[key].get("args") or {}}
        for key in ("model", "optimizer")
    }
    _complete(saved, "model", models.registry)
    _complete(saved, "optimizer", optimizers)
    wanted = _comparable(config)
    if (norm := norm_in(checkpoint, path)) is not None:
        saved["data_norm"] = per_channel(norm)
    saved = _plain(saved)
    changes = list(_differences(saved, {key: wanted[key] for key in saved}))
    advice = f"give the config the same, or begin a run with pre_train: {path} instead of resuming"
    _refuse_fixed(changes, f"{path}: was trained with another config:", advice)


def _refuse_fixed(changes: list[Change], head: str, advice: str) -> None:
    fixed = [str(change) for change in changes if change.within(FIXED)]
    if fixed:
        raise UserError("\n".join([head, *fixed, advice]))


def _is_free(change: Change, config: TrainConfig) -> bool:
    """Check whether a run can go on with a change without ``--force``."""
    if change.key == "epoch_max":
        by_end = config.lr_schedule == "cosine" or config.warmup_step_lr is not None
        return not by_end and change.new > change.old
    return change.within(WITHOUT_EFFECT)


def _comparable(config: TrainConfig) -> dict[str, Any]:
    """Convert a config to a tree with all defaults, so that equal trainings compare equal."""
    tree = config.model_dump()
    tree["data_norm"] = per_channel(norm_of(config))
    _complete(tree, "model", models.registry)
    _complete(tree, "optimizer", optimizers)
    for key in ("train_dataset", "val_dataset"):
        for part in ("dataset", "wrapper") if tree[key] else ():
            _complete(tree[key], part, datasets.registry)
            args = tree[key][part].get("args") or {}
            args.update((name, _whole(value)) for name, value in args.items() if is_path(name))
    return _plain(tree)


def _whole(path: Any) -> Any:
    """Make a path, or each path of a list, absolute, so that equal paths compare equal."""
    if isinstance(path, list):
        return [_whole(each) for each in path]
    return str(Path(expand(path)).absolute()) if isinstance(path, str) else path


def _complete(tree: dict[str, Any], key: str, registry: Registry) -> None:
    if tree[key].get("name") in registry:  # an older config may have other names
        tree[key] = registry.completed(tree[key])


def _plain(tree: dict[str, Any]) -> Any:
    return json.loads(json.dumps(tree, default=str))


def _differences(old: Any, new: Any, place: str = "") -> Iterator[Change]:
    if not isinstance(old, dict) or not isinstance(new, dict):
        if old != new:
            yield Change(place, old, new)
    elif old.get("name") != new.get("name"):  # another object, so its arguments do not compare
        yield Change(f"{place}.name", old.get("name"), new.get("name"))
    else:
        for key in [*old, *(key for key in new if key not in old)]:
            step = f"{place}.{key}" if place else str(key)
            yield from _differences(old.get(key), new.get(key), step)


def _short(value: Any) -> str:
    text = "(none)" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
