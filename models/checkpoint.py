"""Checkpoints: ``{"model": {name, args, sd}, "optimizer": {name, args, sd}, "epoch": int}``.

``data_norm``, ``guard`` and ``restores`` say how to use the model, ``base`` which one it was
fine-tuned from.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cli.command import DEFAULT_MODEL
from configs.schema import DataNorm, parse_section, per_channel, raise_problems
from errors import UserError
from files.paths import expand
from files.whole import written_whole
from models.base import ContinuousModel
from models.published import is_continuous
from models.registry import registry
from models.strength import as_number, blended, read_strength
from models.unpickling import unpickled, unwrapped

USE = ("data_norm", "guard", "restores")  # entries that say how to use the model
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


class Source(NamedTuple):
    """The files that a model is read from.

    Attributes:
        name: Name without a strength, for messages.
        file: The model's file; None for the baseline.
        strength: Strength to blend with; None to take the model as it is in its file.
        base: File of the model that it was fine-tuned from, if a strength is given.
    """

    name: str | Path
    file: Path | None = None
    strength: float | None = None
    base: Path | None = None


def save_checkpoint(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint so that the file is always the complete old or the complete new one.

    Args:
        path: File in an existing folder.
        checkpoint: Tensors and plain values only, so that it loads with ``weights_only=True``.

    Raises:
        OSError: If it cannot be written; the old file is then unchanged.
    """
    buffer = io.BytesIO()  # so that a full disk raises OSError, and not torch's RuntimeError
    torch.save(dict(checkpoint), buffer)
    with written_whole(path) as file:
        file.write(buffer.getbuffer())


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running any code it may hold.

    Args:
        path: The file, or the name of one in weights/, such as ``fast``.

    Raises:
        UserError: If it is missing, damaged, holds code, or is not a checkpoint of a model.
    """
    loaded = _read(path)
    if not isinstance(loaded, dict) or not isinstance(loaded.get("model"), dict):
        raise UserError(f"{path}: no checkpoint of this project: it has no entry 'model'")
    for place, key in ((loaded["model"], "sd"), (loaded, "trained_sd")):
        if isinstance(place.get(key), dict):
            place[key] = unwrapped(place[key])
    return loaded


def _read(path: str | Path) -> Any:
    """Read what torch.save wrote to a file."""
    path = checkpoint_file(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.pth")))
        raise UserError(
            f"{path}: cannot read the checkpoint: {error.strerror}; known by name: {known}"
        ) from None
    return unpickled(data, path)


def checkpoint_file(name: str | Path) -> Path:
    """Return the file in weights/ with a name such as ``fast``, or else the given path itself."""
    name = expand(str(name))
    inside, file = WEIGHTS / f"{name}.pth", Path(name)
    other = file.exists() and not file.is_dir()
    return inside if inside.exists() and file.name == name and not other else file


def model_from(checkpoint: Mapping[str, Any], path: str | Path) -> nn.Module:
    """Build a checkpoint's model and load its weights.

    Args:
        path: Path to name in messages.

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
    """Load weights into a new model, or a part of it, from a file that may lack some.

    Args:
        path: A checkpoint of this project or of the published code, or a bare state dict, alone or
            under a usual key such as ``params`` or ``state_dict``.
        data_norm: Normalisation that the model will be trained with.
        part: Name of the part, whose weights are picked out if the file holds a whole model.

    Returns:
        One line of text if the file lacks weights, which then stay as they are; else nothing.

    Raises:
        UserError: If the file cannot be read, has a weight that the module lacks, or was trained
            with another normalisation; files of the published code do not state theirs.
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
    """Find the state dict in a loaded file, under whichever key; None if there is none."""
    model = loaded.get("model")
    inner = model.get("sd") if isinstance(model, Mapping) else None
    places = [inner, model, *(loaded.get(key) for key in ("params_ema", "params", "state_dict"))]
    for state in (*places, loaded):
        entries = dict(state) if isinstance(state, Mapping) else {}
        if entries and all(isinstance(value, Tensor) for value in entries.values()):
            return unwrapped(entries)
    return None


def norm_in(checkpoint: Mapping[str, Any], path: str | Path) -> dict[str, Any] | None:
    """Return the normalisation a checkpoint was trained with; None as in published ones.

    Raises:
        UserError: If the entry is not a valid normalisation.
    """
    norm = checkpoint.get("data_norm")
    if norm is not None:
        _, problems = parse_section(DataNorm, norm)
        raise_problems(f"{path}: data_norm", problems)
    return norm


def split_name(name: str | Path, strength: float | None = None) -> tuple[str | Path, float | None]:
    """Split a name such as ``photo@0.5`` into model and strength, if the strength is not given.

    If a file has the @ in its own name, the whole name means that file.

    Raises:
        UserError: If a strength is not a number from 0 to 1, or there are two.
    """
    strength = None if strength is None else read_strength(strength)
    bare, _, end = str(name).rpartition("@")
    if not bare or checkpoint_file(name).is_file():
        return name, strength
    if not 0 <= as_number(end) <= 1 and bare != "bicubic" and not checkpoint_file(bare).is_file():
        return name, strength  # the name of a missing file
    if strength is not None or split_name(bare)[1] is not None:
        raise UserError(f"{name}: the strength is given twice")
    return bare, read_strength(end, f"{name}: the strength after the @")


def find_source(name: str | Path, strength: float | None = None) -> Source:
    """Find the files that `load_model` reads.

    Raises:
        UserError: As in `load_model`, if a file is missing or the model has no strength.
    """
    name, strength = split_name(name, strength)
    if str(name) == "bicubic":
        if strength is not None:
            raise _no_strength(name)
        return Source(name)
    file = checkpoint_file(name)
    if strength is None:
        return Source(name, file)
    return Source(name, file, strength, base_file(load_checkpoint(name), name))


def base_file(checkpoint: Mapping[str, Any], name: str | Path) -> Path:
    """Find the file of the model that a checkpoint was fine-tuned from: beside it or in weights/.

    Args:
        name: Name or path of the checkpoint.

    Raises:
        UserError: If the checkpoint names no such file, or it is missing.
    """
    base = checkpoint.get("base")
    if base is None:
        raise _no_strength(name)
    if not isinstance(base, str) or Path(base).name != base:
        raise UserError(f"{name}: base: expected the name of a file, got {base!r}")
    places = checkpoint_file(name).parent / base, WEIGHTS / f"{base}.pth"
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(f"{name}: its strength needs {base}, which is not beside it or in weights/")
    return found


def _no_strength(name: str | Path) -> UserError:
    known = []  # names of those that have a strength
    for file in sorted(WEIGHTS.glob("*.pth")):
        with suppress(UserError):  # such as for a damaged file
            known += [file.stem] if load_checkpoint(file).get("base") is not None else []
    return UserError(
        f"{name}: has no strength, as it was not fine-tuned from another model; "
        f"those in weights/ that have one: {', '.join(known) or 'none'}"
    )


def load_model(
    name: str | Path = DEFAULT_MODEL, strength: float | None = None
) -> tuple[nn.Module, dict[str, Any] | None]:
    """Load a model in evaluation mode.

    Args:
        name: A checkpoint file, the name of one in weights/, such as ``fast``, or ``bicubic``, the
            baseline. It may end with a strength: ``photo@0.5``.
        strength: For a model that was fine-tuned from another: 0 is that other one, 1 the model
            itself, and in between all weights are blended. None takes the model as it is.

    Returns:
        (model on the CPU, the normalisation it was trained with or None if the file has none).

    Raises:
        UserError: As in `load_checkpoint` and `model_from`; or if the model has no strength, or
            the strength is invalid.
    """
    name, file, strength, base = find_source(name, strength)
    if file is None:
        return registry.make({"name": "bicubic"}).eval(), None
    checkpoint = load_checkpoint(name)
    norm = norm_in(checkpoint, name)
    if base is not None and strength is not None:
        other = load_checkpoint(base)
        norm_in(other, base)
        checkpoint = blended(checkpoint, name, other, base, strength)
    model = model_from(checkpoint, name).eval()
    if isinstance(model, ContinuousModel):
        # Files of this code state their normalisation; published ones are rendered as published.
        model.guarded = bool(checkpoint.get("guard", norm is not None))
        model.restores = bool(checkpoint.get("restores", False)) and strength != 0
    return model, norm
