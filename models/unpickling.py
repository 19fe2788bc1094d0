"""Read files written by ``torch.save`` without running any code that they may hold."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from errors import UserError

# What NumPy 1 and 2 pickle numbers as; none of it runs code.
NUMBERS: list[Any] = [
    np.dtype,
    *(type(np.dtype(code)) for code in "?bBhHiIlLqQefd"),
    *(
        (np.float64().__reduce__()[0], f"numpy.{core}.multiarray.scalar")
        for core in ("core", "_core")
    ),
]
WRAPPED = "module."  # prefix added by DataParallel and DistributedDataParallel


def unpickled(data: bytes, path: str | Path) -> Any:
    """Unpickle a file's content onto the CPU, with NumPy numbers as Python's.

    Args:
        path: Path to name in messages.

    Raises:
        UserError: If it is damaged, or holds code.
    """
    _check_sums(data, path)
    try:
        with warnings.catch_warnings():  # torch warns about pickles that it then refuses
            warnings.simplefilter("ignore", UserWarning)
            with torch.serialization.safe_globals(NUMBERS):
                return _plain(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: refused: {_reason(error)}") from None
    except Exception as error:  # unpickling a damaged file can fail anywhere
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: damaged or no checkpoint: {first[:200]}") from None


def _plain(value: Any) -> Any:
    """Convert NumPy numbers to Python's, as checks and later saves need them."""
    if isinstance(value, dict):
        for key in value:
            value[key] = _plain(value[key])
    elif type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _check_sums(data: bytes, path: str | Path) -> None:
    """Check the checksum that torch.save keeps of every entry; old, non-zip files have none."""
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


def unwrapped(state: dict[Any, Any]) -> dict[Any, Any]:
    """Remove the prefix that (Distributed)DataParallel puts before all keys of a state dict."""
    if not state or not all(isinstance(key, str) and key.startswith(WRAPPED) for key in state):
        return state
    return {key.removeprefix(WRAPPED): value for key, value in state.items()}
