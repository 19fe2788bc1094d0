"""Prepare the model of a new run: load weights of other files, and freeze parts."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from engine import DataNorm
from errors import UserError, did_you_mean
from models.checkpoint import begin_with


def begin(model: nn.Module, pre_train: str | Mapping[str, str], data_norm: DataNorm) -> list[str]:
    """Load the weights of ``pre_train`` into a new model: one file for all, or one for each part.

    Returns:
        A line for each file that lacks some of the weights it is for.

    Raises:
        UserError: As in `begin_with`, or if the model has no such part.
    """
    if isinstance(pre_train, str):
        return begin_with(model, pre_train, data_norm)
    return [
        note
        for name, path in pre_train.items()
        for note in begin_with(part_of(model, name, "pre_train"), path, data_norm, name)
    ]


def freeze(model: nn.Module, parts: list[str] | None) -> None:
    """Exclude the weights of some parts from training.

    Raises:
        UserError: If the model has no such part, or nothing is left to train.
    """
    for name in parts or ():
        part_of(model, name, "freeze").requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(f"freeze: {parts} leaves nothing to train")


def part_of(model: nn.Module, name: str, key: str) -> nn.Module:
    """Get the part of a model that a config names, such as ``encoder``.

    Raises:
        UserError: If the model has no part with that name.
    """
    parts = dict(model.named_modules())
    if not name or name not in parts:
        known = [child for child, _ in model.named_children()]
        raise UserError(f"{key}: the model has no part {name!r}; {did_you_mean(name, known)}")
    return parts[name]
