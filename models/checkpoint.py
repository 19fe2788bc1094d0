"""Checkpoints: ``{"model": {name, args, sd}, "optimizer": {name, args, sd}, "epoch": int}``."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from configs.command import DEFAULT_MODEL
from configs.files import written_whole
from configs.schema import DataNorm, parse_section, raise_problems
from configs.spec import UserError
from models import registry

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


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
    path = checkpoint_file(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.pth")))
        raise UserError(
            f"{path}: cannot read the checkpoint: {error.strerror}; known by name: {known}"
        ) from None
    _check_sums(data, path)
    try:
        with warnings.catch_warnings():  # torch warns of pickles that it then refuses
            warnings.simplefilter("ignore", UserWarning)
            loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: refused: {_reason(error)}") from None
    except Exception as error:  # a damaged file fails anywhere within unpickling
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: damaged or no checkpoint: {first[:200]}") from None
    if not isinstance(loaded, dict) or not isinstance(loaded.get("model"), dict):
        raise UserError(f"{path}: no checkpoint of this project: it has no entry 'model'")
    return loaded


def checkpoint_file(name: str | Path) -> Path:
    """The file of a name in weights/, such as ``fast``, or that path itself."""
    inside = WEIGHTS / f"{name}.pth"
    named = not Path(name).exists() and Path(name).name == str(name) and inside.exists()
    return inside if named else Path(name)


def _check_sums(data: bytes, path: str | Path) -> None:
    """The checksum that torch.save keeps of every entry; old files, which are no zip, have none."""
    if not data.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError) as error:
        raise UserError(f"{path}: damaged: {str(error)[:200]}") from None
    if damaged is not None:
        raise UserError(f"{path}: damaged: the checksum of {damaged} is wrong")


def _reason(error: pickle.UnpicklingError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    named = [line for line in lines if "GLOBAL" in line or "nsupported" in line]
    if named:
        return f"it would run code or holds more than weights ({named[0].split('.')[0][:160]})"
    return "it is damaged, or holds more than weights"


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


def begin_with(model: nn.Module, path: str | Path, data_norm: Mapping[str, Any]) -> None:
    """Give a new model the weights of a checkpoint, which may lack some: those stay as they are.

    Args:
        path: As of `load_checkpoint`.
        data_norm: What the model is trained with.

    Raises:
        UserError: If the checkpoint cannot be read, has a weight that the model has not, or was
            trained with another normalisation; those of the published code do not say theirs.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.get("data_norm") not in (None, data_norm):
        raise UserError(
            f"{path}: its weights were trained with data_norm {checkpoint['data_norm']}; "
            f"give the config the same, it has {dict(data_norm)}"
        )
    state = checkpoint["model"].get("sd")
    if not isinstance(state, Mapping) or not state:
        raise UserError(f"{path}: no weights to begin with: its model has no 'sd'")
    try:
        unknown = model.load_state_dict(state, strict=False).unexpected_keys
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:400]
        raise UserError(f"{path}: these weights do not fit the config's model: {reason}") from None
    if unknown:
        raise UserError(
            f"{path}: these weights do not fit the config's model: it has no {unknown[0]}"
            + (f", and no {len(unknown) - 1} more" if len(unknown) > 1 else "")
        )


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
    norm = checkpoint.get("data_norm")
    if norm is not None:
        _, problems = parse_section(DataNorm, norm)
        raise_problems(f"{name}: data_norm", problems)
    return model_from(checkpoint, name).eval(), norm
