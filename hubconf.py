"""Entry points of ``torch.hub``.

up = torch.hub.load("path/to/this/folder", "upscaler", source="local")
large = up.upscale(image, scale=3.7)
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from rendering.upscaler import Upscaler

dependencies = ["torch", "numpy", "PIL", "pydantic", "yaml", "tqdm", "psutil", "tifffile"]

ROOT = Path(__file__).resolve().parent
OURS = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
_loaded: dict[str, ModuleType] = {}
# Kept there, as torch.hub makes this module anew for each load.
_swapping: threading.RLock = vars(torch.hub).setdefault("_liif_swapping", threading.RLock())


@contextmanager
def _own_modules() -> Iterator[None]:
    """Import ``models``, ``utils`` and the like of this project, whatever else has these names.

    That goes for all threads, so others should not import modules of these names meanwhile. What is
    loaded so imports nothing of ours later.
    """
    with _swapping:
        others = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_our_name(name)}
        sys.modules.update(_loaded)
        sys.path.insert(0, str(ROOT))
        try:
            yield
        finally:
            sys.path.remove(str(ROOT))
            for name in [name for name in sys.modules if _is_our_name(name)]:
                _loaded[name] = sys.modules.pop(name)
            sys.modules.update(others)


def _is_our_name(name: str) -> bool:
    return name.split(".")[0] in OURS - {"hubconf"}


def liif(path: str = "compact", strength: float | None = None) -> torch.nn.Module:
    """The continuous model of a checkpoint, in evaluation mode on the CPU.

    Args:
        path: A checkpoint file; the name of one in weights/; or ``bicubic``.
        strength: Of a model that was fine-tuned from another, from 0, that one, to 1, the model
            itself; None: the model as it is.

    Raises:
        UserError: If it is missing, damaged or of other code, or has no such strength.
    """
    with _own_modules():
        model, _ = importlib.import_module("models.checkpoint").load_model(path, strength)
    return model


def upscaler(
    path: str = "fast",
    device: str | None = None,
    tile: int | None = None,
    strength: float | None = None,
) -> Upscaler:
    """An `Upscaler`, whose ``upscale`` renders paths, Pillow images, arrays and tensors.

    Args:
        path: As of `liif`.
        device: The first GPU if None, or the CPU without one.
        tile: Side of the tiles that are encoded at a time; None: as fits into the memory.
        strength: As of `liif`.

    Raises:
        UserError: As `liif`.
    """
    with _own_modules():
        return importlib.import_module("rendering.upscaler").load(path, device, tile, strength)
