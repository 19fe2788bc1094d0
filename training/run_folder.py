"""The folder of a run, save/NAME: who may write to it, and its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from configs.files import written_whole
from configs.schema import TrainConfig
from configs.spec import UserError
from configs.yaml_file import read_yaml
from models.checkpoint import save_checkpoint
from training.state import TrainState

LAST, PREVIOUS, BEST = "epoch-last.pth", "epoch-previous.pth", "epoch-best.pth"
NEW = ".epoch-new.pth"  # on its way to become the last


def holds_run(folder: Path) -> bool:
    """Whether a run has got as far as a checkpoint there."""
    return any(folder.glob("epoch-*.pth"))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, made if need be, as this process's own; a kill gives it back.

    Raises:
        UserError: If another process trains there.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is in the way of the run folder; choose another --name")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(
            f"{folder}: another process is training there; stop it, or choose another --name"
        ) from None


def move_aside(folder: Path) -> None:
    """An old run becomes NAME.old-K; nothing is deleted."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    folder.rename(aside)


def to_continue(folder: Path) -> list[Path]:
    """The checkpoints to continue from, the newest first; empty if no run was begun.

    Raises:
        UserError: If there is a run, but only in checkpoints that nothing continues from.
    """
    found = [folder / name for name in (LAST, PREVIOUS, NEW) if (folder / name).exists()]
    if not found and holds_run(folder):
        raise UserError(
            f"{folder}: holds a run, but neither {LAST} nor {PREVIOUS}; name a checkpoint of it as "
            "resume: in the config of a new run, or start anew with --overwrite"
        )
    return found


def refuse_changes(folder: Path, config_path: str, force: bool) -> list[str]:
    """The differences between the config and the one that the run began with.

    Raises:
        UserError: If there are any, unless ``force``.
    """
    begun = folder / "config.yaml"
    if not begun.exists():
        return []
    try:
        changes = _differences(read_yaml(begun), read_yaml(config_path))
    except UserError as error:
        changes = [str(error)]
    if changes and not force:
        first = f"{config_path}: the run in {folder} began with another config:"
        advice = "continue it all the same with --force, or choose another --name"
        raise UserError("\n".join([first, *changes, advice]))
    return changes


def _differences(old: Any, new: Any, place: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        steps = ((f"{place}.{key}" if place else str(key), key) for key in keys)
        return [
            line
            for step, key in steps
            for line in _differences(old.get(key, "(none)"), new.get(key, "(none)"), step)
        ]
    return [] if old == new else [f"{place}: was {old}, is {new}"]


def keep_config(folder: Path, text: bytes) -> None:
    with written_whole(folder / "config.yaml") as file:
        file.write(text)


def save(folder: Path, config: TrainConfig, state: TrainState, *names: str) -> None:
    """Write the state to the files named, and to epoch-last.pth; the one before it is kept.

    Every file is at every moment whole. epoch-last.pth comes last, so that a kill in between
    repeats what the others say.

    Raises:
        UserError: If the weights are not finite; nothing is written then.
        OSError: If it cannot be written.
    """
    if not state.is_finite():
        raise UserError(
            f"{folder}: weights are no longer finite and were not saved; lower the learning rate, "
            "or set grad_clip or max_skipped"
        )
    checkpoint = state.checkpoint(config)
    for name in names:
        save_checkpoint(folder / name, checkpoint)
    last = folder / LAST
    new = folder / NEW
    save_checkpoint(new, checkpoint)
    if last.exists():
        last.replace(folder / PREVIOUS)
    new.replace(last)
