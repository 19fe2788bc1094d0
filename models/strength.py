"""Blend a fine-tuned model with the one it began as: (1 - strength) * base + strength * model.

This is deep network interpolation (Wang et al., CVPR 2019) of all weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.schema import per_channel
from errors import UserError

Weights = Mapping[str, Tensor]
EDSR = ("edsr-baseline", "edsr")  # encoders whose residual blocks can be added


def read_strength(value: Any, title: str = "strength") -> float:
    """Convert a value to a number from 0 to 1.

    Args:
        title: Name of the value, for messages.

    Raises:
        UserError: If it is not such a number.
    """
    strength = as_number(value)
    if not 0 <= strength <= 1:
        raise UserError(f"{title}: expected a number from 0 to 1, got {value!r}")
    return strength


def as_number(value: Any) -> float:
    """Convert a value to a float; NaN if it is not a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def titled(name: str | Path, strength: float | None) -> str:
    """Name a model for labels and folders, with its strength: such as ``runs/photo@0.5.pth``.

    Args:
        name: Name without a strength.
    """
    if strength is None:
        return str(name)
    bare = str(name).removesuffix(".pth")
    return f"{bare}@{strength}.pth"


def blended(
    model: Mapping[str, Any],
    path: str | Path,
    base: Mapping[str, Any],
    base_path: str | Path,
    strength: float,
) -> dict[str, Any]:
    """Return a model's checkpoint with its weights blended with the base's at a strength.

    Args:
        path, base_path: Paths of the checkpoints, for messages.

    Raises:
        UserError: As in `fitting_base`.
    """
    base = fitting_base(model, path, base, base_path)
    sd = blend(base["model"]["sd"], model["model"]["sd"], strength)
    return {**model, "model": {**model["model"], "sd": sd}}


def blend(base: Weights, model: Weights, strength: float) -> dict[str, Tensor]:
    """Blend weights at a strength; at 0 and 1 they are one model's own, bit for bit.

    Tensors that are not floats are taken from the model.
    """
    if strength in (0, 1):
        return dict(model if strength else base)
    return average([model, base], [strength, 1 - strength])


def average(weights: Sequence[Weights], shares: Sequence[float]) -> dict[str, Tensor]:
    """Average state dicts by shares; tensors that are not floats are taken from the first.

    It is computed in float64, so that values which are equal in all stay exactly as they are.
    """
    total = sum(shares)

    def mean(key: str, like: Tensor) -> Tensor:
        pairs = zip(shares, weights, strict=True)
        parts = [state[key].double() * (share / total) for share, state in pairs]
        return torch.stack(parts).sum(0).to(like.dtype)

    return {k: mean(k, v) if v.is_floating_point() else v for k, v in weights[0].items()}


def fitting_base(
    model: Mapping[str, Any], path: str | Path, base: Mapping[str, Any], base_path: str | Path
) -> Mapping[str, Any]:
    """Return the base of a model, with as many residual blocks as the model.

    A base whose EDSR encoder has fewer blocks gets those that it lacks: each has the first
    convolution of the model's block and a second one of zeros. So it adds nothing at strength 0,
    where the base computes what it did, and fades in with the strength.

    Args:
        path, base_path: Paths of the checkpoints, for messages.

    Raises:
        UserError: As in `check_same_kind`.
    """
    fitted = with_blocks(base, _blocks(model), model["model"].get("sd"))
    check_same_kind(model, path, fitted, base_path)
    return fitted


def _blocks(checkpoint: Mapping[str, Any]) -> int:
    """Return the number of residual blocks of a checkpoint's EDSR encoder; 0 if it has no other."""
    spec = (checkpoint["model"].get("args") or {}).get("encoder_spec") or {}
    count = (spec.get("args") or {}).get("n_resblocks")
    return count if spec.get("name") in EDSR and isinstance(count, int) else 0


def with_blocks(base: Mapping[str, Any], wanted: int, sd: Any) -> Mapping[str, Any]:
    """Return a base with blocks that add nothing, up to a number of them.

    Args:
        sd: State dict of the model, whose first convolutions the new blocks get.
    """
    had, spec = _blocks(base), base["model"]
    last = f"encoder.body.{had}."
    if not 0 < had < wanted or not isinstance(sd, Mapping) or f"{last}weight" not in spec["sd"]:
        return base
    encoder = spec["args"]["encoder_spec"]
    encoder = {**encoder, "args": {**encoder["args"], "n_resblocks": wanted}}
    weights = {
        f"encoder.body.{wanted}.{key.removeprefix(last)}" if key.startswith(last) else key: value
        for key, value in spec["sd"].items()
    }
    for key, value in sd.items():
        place = re.match(r"encoder\.body\.(\d+)\.body\.(\d+)\.", key)
        if place is not None and had <= int(place[1]) < wanted:
            weights[key] = value if place[2] == "0" else torch.zeros_like(value)
    args = {**spec["args"], "encoder_spec": encoder}
    return {**base, "model": {**spec, "args": args, "sd": weights}}


def check_same_kind(
    model: Mapping[str, Any], path: str | Path, base: Mapping[str, Any], base_path: str | Path
) -> None:
    """Raise a `UserError` unless the weights of two checkpoints can be blended.

    Args:
        path, base_path: Paths of the checkpoints, for messages.
    """
    if difference := _difference(model, base):
        raise UserError(f"{path}: cannot be blended with {base_path}: {difference}")


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Say how two checkpoints differ; None if they can be blended."""
    specs = one["model"], other["model"]
    names = [spec.get("name") for spec in specs]
    if names[0] != names[1]:
        return f"it is a {names[0]!r}, and the other a {names[1]!r}"
    args, other_args = (spec.get("args") or {} for spec in specs)
    if args != other_args:
        keys = sorted({*args, *other_args}, key=str)
        return f"they differ in {', '.join(str(k) for k in keys if _unlike(args, other_args, k))}"
    norms = [file.get("data_norm") for file in (one, other)]
    if len({repr(norm and per_channel(norm)) for norm in norms}) > 1:
        return f"it has data_norm {norms[0]}, and the other {norms[1]}"
    states = [spec.get("sd") for spec in specs]
    for state in states:
        tensors = isinstance(state, Mapping) and all(isinstance(v, Tensor) for v in state.values())
        if not tensors:
            return "one of them holds no weights"
    if states[0].keys() != states[1].keys():
        return f"only one of them has {min(states[0].keys() ^ states[1].keys(), key=str)}"
    for key, value in states[0].items():
        shapes = [tuple(tensor.shape) for tensor in (value, states[1][key])]
        if shapes[0] != shapes[1]:
            return f"{key} is of {shapes[0]}, and the other's of {shapes[1]}"
    return None


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> bool:
    return (key in one, one.get(key)) != (key in other, other.get(key))
