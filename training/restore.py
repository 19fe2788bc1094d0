"""Restore the state that a run continues from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from configs.schema import TrainConfig
from errors import UserError
from models.checkpoint import load_checkpoint
from parallel import Group
from training.run_folder import BEST, to_continue
from training.state import TrainState, make_state


def restore(
    config: TrainConfig, group: Group, steps_per_epoch: int, folder: Path
) -> tuple[TrainState, dict[str, Any], str]:
    """Restore the state to continue from: the first process reads it, and all get the same.

    Returns:
        (state, versions that it was saved with, path of the checkpoint or "").
    """
    own = None
    if group.is_first:
        own = first_good(config, group.device, steps_per_epoch, folder)
    begun = bool(group.is_first and to_continue(folder))
    checkpoint, path, begun = group.from_first(lambda: (*(own or (None, None, ""))[1:], begun))
    state = own[0] if own else make_state(config, group.device, steps_per_epoch, checkpoint, path)
    if path and not begun:  # another run's
        if state.epoch >= config.epoch_max:
            raise UserError(
                f"resume: {path}: has {state.epoch} epochs behind it, and epoch_max is "
                f"{config.epoch_max}: nothing is left to train; raise epoch_max"
            )
        state.record, state.skipped = {}, 0
    if not (folder / BEST).exists():
        state.best = -math.inf
    return state, dict((checkpoint or {}).get("versions", {})), path


def first_good(
    config: TrainConfig, device: torch.device, steps_per_epoch: int, folder: Path
) -> tuple[TrainState, Mapping[str, Any] | None, str]:
    """Find the first readable checkpoint, with its state and path; without any, a new state.

    Raises:
        UserError: If there are checkpoints but none is good, as a run must never silently restart.
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
        state.notes += [f"{problem}; taking {path} instead" for problem in problems]
        return state, checkpoint, path
    if problems:
        raise UserError("\n".join(problems))
    return make_state(config, device, steps_per_epoch), None, ""
