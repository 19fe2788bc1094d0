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
# Kept in torch.hub, which imports this module again for each load.
_swapping: threading.RLock = vars(torch.hub).setdefault("_liif_swapping", threading.RLock())


@contextmanager
def _own_modules() -> Iterator[None]:
    """Make ``models``, ``utils`` and so on mean this project's modules, whatever else is loaded.

    This affects all threads, so others should not import modules with these names meanwhile.
    Modules loaded here do not import further modules of this project later.
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
    """Load the continuous model of a checkpoint, in evaluation mode on the CPU.

    Args:
        path: A checkpoint file; the name of one in weights/; or ``bicubic``.
        strength: Strength of a model that was fine-tuned from another, from 0 (the other one) to 1
            (the model itself); None: the model as it is.

    Raises:
        UserError: If the checkpoint is missing, damaged, from other code, or has no such strength.
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
    """Make an `Upscaler`, whose ``upscale`` renders paths, Pillow images, arrays and tensors.

    Args:
        path: See `liif`.
        device: Device of the model; None: the first GPU, or the CPU if there is none.
        tile: Side of the tiles that are encoded at a time; None: what fits into memory.
        strength: See `liif`.

    Raises:
        UserError: As in `liif`, or if the device or the tile is not valid.
    """
    with _own_modules():
        return importlib.import_module("rendering.upscaler").load(path, device, tile, strength)
