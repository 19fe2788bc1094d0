"""Samples to batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

import datasets
from configs.spec import UserError
from datasets.wrappers import SampleWrapper, file_name


class EpochBatches(Sampler[list[int]]):
    """Every index once per epoch, in batches, in an order that follows from (seed, epoch).

    Yields indices that count on through the epochs, as `SampleWrapper` wants them, or plain ones
    for wrappers written elsewhere.

    Attributes:
        epoch: Set before iterating, from 0.
        start: Number of batches of the epoch to leave out; set before iterating.
    """

    def __init__(self, samples: Any, batch_size: int, seed: int, shuffle: bool) -> None:
        self.length = len(samples)
        self.batch_size = batch_size
        self.count_on = isinstance(samples, SampleWrapper)
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def batch(self, number: int) -> list[int]:
        """The indices of one batch of the epoch, from 0."""
        first = number * self.batch_size
        return self._order()[first : first + self.batch_size]

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order()
        for first in range(self.start * self.batch_size, self.length, self.batch_size):
            yield order[first : first + self.batch_size]

    def _order(self) -> list[int]:
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.length, generator=generator)
        else:
            order = torch.arange(self.length)
        return (order + self.epoch * self.length * self.count_on).tolist()


class BatchLoader(DataLoader[Any]):
    """A `DataLoader` whose mistakes in user data arrive as one line, not as a worker's traceback.

    Args:
        samples: A wrapper dataset.
        batch_size: Samples per batch; the last batch of an epoch may be smaller.
        shuffle: Draw a new order, and new samples, in each epoch; otherwise always the same.
        seed: Of order and samples.
        num_workers: Processes; by default one per core, at most 8.
        pin_memory: Page-locked batches, for CUDA.
    """

    def __init__(
        self,
        samples: Dataset[Any],
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        num_workers: int | None = None,
        pin_memory: bool = False,
    ) -> None:
        self.samples = samples
        if isinstance(samples, SampleWrapper):
            samples.seed = seed
        self.batches = EpochBatches(samples, batch_size, seed, shuffle)
        workers = min(8, _cores()) if num_workers is None else num_workers
        super().__init__(
            _Carrying(samples),
            batch_sampler=self.batches,
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_group,
            generator=torch.Generator().manual_seed(seed),
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def file_name(self, index: int) -> str:
        """The file of sample ``index`` of an unshuffled loader, or its number."""
        return file_name(self.samples, index)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, from 0, and the batch of it, that the next iteration begins with."""
        self.batches.epoch = epoch
        self.batches.start = start

    def files_of(self, number: int) -> list[str]:
        """The files of one batch of the epoch, from 0."""
        length = self.batches.length
        return [self.file_name(index % length) for index in self.batches.batch(number)]


def make_loader(section: Any, **options: Any) -> BatchLoader:
    """The loader of a `DataSection` of a config; options as of `BatchLoader`."""
    dataset = datasets.make(section.dataset)
    samples = datasets.make(section.wrapper, args={"dataset": dataset})
    return BatchLoader(samples, section.batch_size, **options)


class _Carrying(Dataset[Any]):
    """Returns a `UserError` instead of raising it: a worker would bury it in a traceback."""

    def __init__(self, samples: Dataset[Any]) -> None:
        self.samples = samples

    def __getitem__(self, key: int) -> Any:
        try:
            return self.samples[key]
        except UserError as error:
            return error

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]


def _leave_group(_: int) -> None:
    """Signals to the program's group, such as Ctrl-C, stay away: it finishes its step first."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)


def _collate(samples: list[Any]) -> Any:
    if (mistake := next((s for s in samples if isinstance(s, UserError)), None)) is not None:
        return mistake
    sizes = {tuple(getattr(v, "shape", None) for v in sample.values()) for sample in samples}
    if len(sizes) > 1:
        return UserError(
            "the samples of a batch differ in size: give inp_size and sample_q, or batch_size: 1"
        )
    return default_collate(samples)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
