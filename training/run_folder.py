"""Manage the folder of a run, save/NAME: who may write to it, and its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from configs.schema import TrainConfig
from errors import UserError
from files.paths import expand
from files.whole import written_whole
from models.checkpoint import save_checkpoint
from training.state import TrainState

LAST, PREVIOUS, BEST = "epoch-last.pth", "epoch-previous.pth", "epoch-best.pth"
CONFIG = "config.yaml"
NEW = ".epoch-new.pth"  # about to become the last


def checked_name(name: str) -> Path:
    """Convert a name to a relative path below save/.

    Raises:
        UserError: If it would be save/ itself, or outside it.
    """
    path = Path(name)
    if path.is_absolute() or path.drive or ".." in path.parts or not path.parts:
        raise UserError(f"--name {name}: is no name of a folder below save/")
    return path


def is_own_checkpoint(path: str | None, folder: Path, config_path: str) -> bool:
    """Check whether ``resume: path`` of a config means the last checkpoint of its own run.

    That is the one in ``folder``, or in the folder named after the config. Published YAMLs name it
    even before there is such a run.
    """
    if path is None or Path(path).name != LAST:
        return False
    own = (folder, Path("save") / f"_{Path(config_path).stem}")
    return Path(expand(path)).absolute().parent in [run.absolute() for run in own]


def holds_run(folder: Path) -> bool:
    """Check whether a folder has a checkpoint of a run."""
    return any(folder.glob("epoch-*.pth"))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process, and make it if needed; a kill releases the lock.

    Raises:
        UserError: If another process trains there, or the path is not a folder.
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
    """Rename the folder of an old run to NAME.old-K; nothing is deleted."""
    folder.rename(_first_free(lambda number: folder.with_name(f"{folder.name}.old-{number}")))


def _first_free(name: Callable[[int], Path]) -> Path:
    return next(path for path in map(name, count(1)) if not path.exists())


def to_continue(folder: Path) -> list[Path]:
    """List the checkpoints to continue from, the newest first; empty if no run was begun.

    Raises:
        UserError: If there is a run, but only with checkpoints that no run continues from.
    """
    found = [folder / name for name in (LAST, PREVIOUS, NEW) if (folder / name).exists()]
    if not found and holds_run(folder):
        raise UserError(
            f"{folder}: holds a run, but neither {LAST} nor {PREVIOUS}; name a checkpoint of it as "
            "resume: in the config of a new run, or start anew with --overwrite"
        )
    return found


def set_best_aside(folder: Path) -> list[str]:
    """Rename the best checkpoint so far, since a changed validation makes PSNRs incomparable.

    Returns:
        A list with a line that says so, empty if there is no such checkpoint.
    """
    best = folder / BEST
    if not best.exists():
        return []
    aside = _first_free(lambda number: folder / f"epoch-best-{number}.pth")
    best.rename(aside)
    return [f"the validation has changed: {BEST} begins anew; {aside.name} is the old one"]


def keep_config(folder: Path, text: bytes) -> None:
    with written_whole(folder / CONFIG) as file:
        file.write(text)


def save(folder: Path, config: TrainConfig, state: TrainState, *names: str) -> None:
    """Write the state to the named files and to epoch-last.pth, and keep the previous one.

    Every file is complete at every moment. epoch-last.pth is written last, so that after a kill in
    between, the resumed run writes the other files again.

    Raises:
        UserError: If the weights are not finite; then nothing is written.
        OSError: If a file cannot be written.
    """
    if not state.is_finite():
        raise UserError(
            f"{folder}: weights are no longer finite and were not saved; lower the learning rate, "
            "or set grad_clip or max_skipped, and go on with --resume --force"
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
