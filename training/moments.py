"""Restore the moments of an optimizer from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from errors import UserError


def restore_moments(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    saved: Any,
    saved_names: Sequence[str],
    path: str,
) -> None:
    """Load saved moments into an optimizer; its learning rates and other options stay.

    Optimizers number the parameters in the order that the model had when they were saved. The saved
    state dict of the model has the same order. So its keys tell which moments belong to which
    parameter, even if the model registers them in another order today.

    Args:
        optimizer: Optimizer of all parameters of the model.
        saved: State dict of an optimizer of the same kind.
        saved_names: Keys of the model's state dict in the same file.
        path: Path of the file, for messages.

    Raises:
        UserError: If it is not such a state dict, or is for other parameters.
    """
    own = {name: (i, p.shape) for i, (name, p) in enumerate(model.named_parameters())}
    names = [name for name in saved_names if name in own]
    try:
        numbers = [number for group in saved["param_groups"] for number in group["params"]]
        states = dict(saved["state"])
        if len(numbers) != len(names) or len(names) != len(own):
            raise ValueError(f"it is of {len(numbers)} parameters, the model has {len(own)}")
        moved = {}
        for number, name in zip(numbers, names, strict=True):
            if number in states:
                _check_shapes(states[number], own[name][1], name)
                moved[own[name][0]] = states[number]
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moved, "param_groups": groups})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: the optimizer's state does not fit: {error}") from None


def _check_shapes(moments: Mapping[str, Any], shape: torch.Size, name: str) -> None:
    """Refuse moments of another shape than the weights: a fused kernel would read beyond them."""
    for key, value in moments.items():
        if isinstance(value, Tensor) and value.ndim and value.shape != shape:
            raise ValueError(f"{key} of {name} is {tuple(value.shape)}, not {tuple(shape)}")
