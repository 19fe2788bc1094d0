"""Checkpoints: ``{"model": {name, args, sd}, "optimizer": {name, args, sd}, "epoch": int}``."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from configs.command import DEFAULT_MODEL
from configs.files import written_whole
from configs.paths import expand
from configs.schema import DataNorm, parse_section, per_channel, raise_problems
from configs.spec import UserError
from models import registry
from models.base import ContinuousModel
from models.unpickling import unpickled

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
WRAPPED = "module."  # of DataParallel and DistributedDataParallel


def save_checkpoint(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint so that the file is always either the old or the new one, whole.

    Args:
        path: Its folder must exist.
        checkpoint: Tensors and plain values only, so that it loads with ``weights_only=True``.

    Raises:
        OSError: If it cannot be written; the old file is then as it was.
    """
    buffer = io.BytesIO()  # so that a full disk is an OSError, and not a RuntimeError of torch
    torch.save(dict(checkpoint), buffer)
    with written_whole(path) as file:
        file.write(buffer.getbuffer())


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint on the CPU, without running any code it may hold.

    Args:
        path: The file; or the name of one in weights/, such as ``fast``.

    Raises:
        UserError: If it is missing, damaged, holds code, or is no checkpoint of a model.
    """
    loaded = _read(path)
    if not isinstance(loaded, dict) or not isinstance(loaded.get("model"), dict):
        raise UserError(f"{path}: no checkpoint of this project: it has no entry 'model'")
    for place, key in ((loaded["model"], "sd"), (loaded, "trained_sd")):
        if isinstance(place.get(key), dict):
            place[key] = _unwrapped(place[key])
    return loaded


def _read(path: str | Path) -> Any:
    """What torch.save has written to a file."""
    path = checkpoint_file(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.pth")))
        raise UserError(
            f"{path}: cannot read the checkpoint: {error.strerror}; known by name: {known}"
        ) from None
    return unpickled(data, path)


def _unwrapped(state: dict[Any, Any]) -> dict[Any, Any]:
    """A state dict without what (Distributed)DataParallel puts before all of its keys."""
    if not state or not all(isinstance(key, str) and key.startswith(WRAPPED) for key in state):
        return state
    return {key.removeprefix(WRAPPED): value for key, value in state.items()}


def checkpoint_file(name: str | Path) -> Path:
    """The file of a name in weights/, such as ``fast``, or that path itself."""
    name = expand(str(name))
    inside = WEIGHTS / f"{name}.pth"
    named = not Path(name).exists() and Path(name).name == str(name) and inside.exists()
    return inside if named else Path(name)


def model_from(checkpoint: Mapping[str, Any], path: str | Path) -> nn.Module:
    """Build a checkpoint's model and load its weights.

    Args:
        path: For messages.

    Raises:
        UserError: If its spec or weights do not fit this code.
    """
    try:
        model = registry.make(checkpoint["model"], load_sd=True)
    except UserError as error:
        lines = str(error).splitlines()
        raise UserError("\n".join(f"{path}: {line}" for line in lines)) from None
    if not is_continuous(model):
        raise UserError(f"{path}: holds a {checkpoint['model']['name']!r}, no continuous model")
    return model


def begin_with(
    module: nn.Module, path: str | Path, data_norm: Mapping[str, Any], part: str = ""
) -> list[str]:
    """Give a new model, or a part of it, weights of a file that may lack some.

    Args:
        path: A checkpoint of this project or of the published code; or a bare state dict, alone or
            under a usual key such as ``params`` or ``state_dict``.
        data_norm: What the model is trained with.
        part: Name of the part, whose weights are taken out of a file of a whole model.

    Returns:
        A line if the file lacks weights: those stay as they are.

    Raises:
        UserError: If the file cannot be read, has a weight that the module has not, or was
            trained with another normalisation; those of the published code do not say theirs.
    """
    loaded = _read(path)
    checkpoint = loaded if isinstance(loaded, dict) else {}
    norm = norm_in(checkpoint, path)
    if norm is not None and per_channel(norm) != per_channel(data_norm):
        raise UserError(
            f"{path}: its weights were trained with data_norm {norm}; "
            f"give the config the same, it has {dict(data_norm)}"
        )
    state = _weights_in(checkpoint)
    if state is None:
        raise UserError(f"{path}: no weights to begin with: it holds no state dict")
    inside = {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")}
    owner = f"{part} of the config's model" if part else "config's model"
    try:
        found = module.load_state_dict(inside or state, strict=False)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:400]
        raise UserError(f"{path}: these weights do not fit the {owner}: {reason}") from None
    missing, unknown = found.missing_keys, found.unexpected_keys
    if unknown:
        raise UserError(
            f"{path}: these weights do not fit the {owner}: it has no {unknown[0]}"
            + (f", and no {len(unknown) - 1} more" if len(unknown) > 1 else "")
        )
    if not missing:
        return []
    count = len(module.state_dict())
    more = ", ..." if len(missing) > 3 else ""
    named = ", ".join(missing[:3])
    return [f"{path}: lacks {len(missing)} of {count} weights, which begin anew: {named}{more}"]


def _weights_in(loaded: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The state dict in a file, wherever it is."""
    model = loaded.get("model")
    inner = model.get("sd") if isinstance(model, Mapping) else None
    places = [inner, model, *(loaded.get(key) for key in ("params_ema", "params", "state_dict"))]
    for state in (*places, loaded):
        entries = dict(state) if isinstance(state, Mapping) else {}
        if entries and all(isinstance(value, Tensor) for value in entries.values()):
            return _unwrapped(entries)
    return None


def norm_in(checkpoint: Mapping[str, Any], path: str | Path) -> dict[str, Any] | None:
    """The normalisation that a checkpoint was trained with; published ones do not say it.

    Raises:
        UserError: If what it says is none.
    """
    norm = checkpoint.get("data_norm")
    if norm is not None:
        _, problems = parse_section(DataNorm, norm)
        raise_problems(f"{path}: data_norm", problems)
    return norm


def is_continuous(model: Any) -> bool:
    """Whether it can be encoded with once and queried anywhere."""
    return callable(getattr(model, "gen_feat", None)) and callable(
        getattr(model, "query_rgb", None)
    )


def load_model(name: str | Path = DEFAULT_MODEL) -> tuple[nn.Module, dict[str, Any] | None]:
    """A model in evaluation mode.

    Args:
        name: A checkpoint file; or the name of one in weights/, such as ``fast``; or
            ``bicubic``, the baseline.

    Returns:
        (model on the CPU, the normalisation it was trained with or None if the file has none).

    Raises:
        UserError: As `load_checkpoint` and `model_from`.
    """
    if str(name) == "bicubic":
        return registry.make({"name": "bicubic"}).eval(), None
    checkpoint = load_checkpoint(name)
    norm = norm_in(checkpoint, name)
    model = model_from(checkpoint, name).eval()
    if isinstance(model, ContinuousModel):
        # Files of this code say how they were trained; published ones are rendered as published.
        model.guarded = bool(checkpoint.get("guard", norm is not None))
    return model, norm
