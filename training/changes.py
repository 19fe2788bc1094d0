"""What a config changes of a run that has begun, and what it may change."""

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

# What neither a weight nor a measured value depends on.
WITHOUT_EFFECT = {
    "resume",  # of a run that has begun, neither this
    "pre_train",  # nor this is read again
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
# What the weights and the moments of the optimizer are made for.
FIXED = ("model", "data_norm", "optimizer.name", "optimizer.args.amsgrad")
UNKNOWN = "config.yaml"  # the key of a change that cannot be told
VALIDATION = ("val_dataset", "eval_type", UNKNOWN)  # what the best PSNR is measured by


class Change(NamedTuple):
    """A key of a config, and its values before and now."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: was {_short(self.old)}, is {_short(self.new)}"

    def within(self, keys: Collection[str]) -> bool:
        """Whether it is one of some keys, or below one."""
        return any(self.key == key or self.key.startswith(f"{key}.") for key in keys)

    @property
    def of_validation(self) -> bool:
        """Whether another PSNR is measured with it."""
        return self.within(VALIDATION) and not self.within(WITHOUT_EFFECT)


def norm_of(config: TrainConfig) -> DataNorm:
    return config.data_norm.model_dump() if config.data_norm else IDENTITY_NORM


def changes_of_run(begun: Path, config_path: str, config: TrainConfig, force: bool) -> list[Change]:
    """The differences between the config and the one that a run began with.

    Args:
        begun: The config in the run folder; nothing has changed if there is none.
        config_path: For messages.
        force: Allow those that change what the run computes.

    Raises:
        UserError: If there are such, without ``force``; or some that no run can go on with.
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
    """Refuse a checkpoint of another model, optimizer or normalisation than the config's.

    Args:
        checkpoint: Whose model and optimizer have known names.
        path: For messages.

    Raises:
        UserError: With all differences; those that can be applied are none.
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
    """Whether a run goes on with it without being asked."""
    if change.key == "epoch_max":
        by_end = config.lr_schedule == "cosine" or config.warmup_step_lr is not None
        return not by_end and change.new > change.old
    return change.within(WITHOUT_EFFECT)


def _comparable(config: TrainConfig) -> dict[str, Any]:
    """A config with all defaults written out, so that equal trainings are equal."""
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
    """A path, or a list of them, as it is the same however it is written."""
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
    elif old.get("name") != new.get("name"):  # something else, with other arguments
        yield Change(f"{place}.name", old.get("name"), new.get("name"))
    else:
        for key in [*old, *(key for key in new if key not in old)]:
            step = f"{place}.{key}" if place else str(key)
            yield from _differences(old.get(key), new.get(key), step)


def _short(value: Any) -> str:
    text = "(none)" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
