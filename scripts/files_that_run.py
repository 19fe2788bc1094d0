"""List the files of this repository that run in one training step and in one rendering, in order.

    python scripts/files_that_run.py

Files are in the order in which a function of theirs is first called. `docs/architecture.md` has
these lists; `scripts/docs_tables.py` writes them.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import contextlib
import inspect
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import numpy as np
import torch
from PIL import Image

from cli.command import outlive_output, run

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs/train-div2k/train_edsr-baseline-liif.yaml"
SIDE = 200  # side of the image; samples of 48 x 48 pixels at up to x4 fit in


@contextlib.contextmanager
def files_called() -> Iterator[list[str]]:
    """Record the files of this repository whose functions are called inside, by first call.

    What runs on import does not count, as the body of a module or class is not a function.
    """
    seen: dict[str, None] = {}
    inside = f"{ROOT}{os.sep}"

    def hook(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_flags & inspect.CO_OPTIMIZED:
            file = code.co_filename
            if file.startswith(inside) and "site-packages" not in file:
                seen.setdefault(Path(file).relative_to(ROOT).as_posix())

    files: list[str] = []
    threading.setprofile(hook)
    sys.setprofile(hook)
    try:
        yield files
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        files += [file for file in seen if not file.startswith("scripts/")]


def training(folder: Path) -> tuple[list[str], list[str]]:
    """Read a batch of `CONFIG`, take an optimizer step with it, and list the files of both."""
    import datasets
    import models
    from configs.load import load_train
    from datasets.loader import make_loader
    from training.recipe import LOSSES, make_optimizer, optimizers
    from training.step import train_step

    registries = {"models": models.registry, "datasets": datasets.registry}
    config = load_train(CONFIG, optimizers=optimizers, **registries)
    section = config.train_dataset.model_copy(update={"batch_size": 2}, deep=True)
    section.dataset["args"] |= {"root_path": str(folder), "repeat": 2, "cache": "none"}
    model = models.make(config.model)
    optimizer = make_optimizer(config.optimizer, model.parameters())
    assert config.data_norm is not None
    norm, loss = config.data_norm.model_dump(), LOSSES[config.loss]
    loader = make_loader(section, shuffle=True, seed=0, num_workers=0)
    with files_called() as reading:
        batch: Mapping[str, Any] = next(iter(loader))
    with files_called() as step:
        train_step(model, optimizer, batch, norm, loss=loss)
    loader.close()
    return reading, step


def rendering(folder: Path) -> list[str]:
    """List the files of ``demo.py --input photo.png --scale 2 --output large.png`` at work.

    They are those from reading the input to writing the output.
    """
    from models.checkpoint import load_model
    from rendering.job import Wanted
    from rendering.single import render_single
    from rendering.tiles import Renderer

    renderer = Renderer(*load_model("compact"), None)
    source, target = folder / "photo.png", folder / "large.png"
    with contextlib.redirect_stderr(None), files_called() as files:
        render_single(renderer, str(source), str(target), Wanted(scale=(2.0, 2.0)), ".png")
    return files


def all_lists() -> dict[str, list[str]]:
    """List the files that run for a batch, for a training step with it, and for a rendering."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "photo.png")
        batch, step = training(folder)
        return {"batch": batch, "training step": step, "rendering": rendering(folder)}


def main() -> None:
    outlive_output()
    for name, files in all_lists().items():
        print(f"{name}: {len(files)} files", *files, sep="\n  ")


if __name__ == "__main__":
    run(main)
