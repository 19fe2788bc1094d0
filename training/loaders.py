"""Make the loaders of the samples of a run."""

from __future__ import annotations

import hashlib
from typing import Any

from configs.schema import TrainConfig
from datasets.loader import BatchLoader, make_loader
from parallel import Group
from scoring import Measure


def make_loaders(
    config: TrainConfig, channels: int, group: Group
) -> tuple[BatchLoader, BatchLoader | None]:
    """Make the loaders of training samples and, if configured, validation samples.

    Args:
        channels: Number of channels of the images.
    """
    options: dict[str, Any] = {
        "channels": channels,
        "skip_unreadable": config.skip_unreadable,
        "seed": config.seed,
        "num_workers": config.num_workers,
        "group": group,
    }
    train_loader = make_loader(config.train_dataset, shuffle=True, **options)
    if config.val_dataset is None or config.epoch_val is None:
        return train_loader, None
    measure = Measure(config.eval_type)
    options |= {"scale": measure.scale, "shave": measure.shave}
    return train_loader, make_loader(config.val_dataset, **options)


def digest(config_text: bytes, loaders: tuple[BatchLoader, BatchLoader | None]) -> str:
    """Hash the config and the names of the images."""
    names = [
        loader.file_name(index)
        for loader in loaders
        if loader is not None
        for index in range(loader.batches.length)
    ]
    return hashlib.sha256(config_text + "\n".join(names).encode()).hexdigest()
