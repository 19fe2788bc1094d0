"""Samples to batches."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

import datasets
from configs.spec import UserError
from datasets.wrappers import SampleWrapper, file_name
from parallel import ALONE, Group


class EpochBatches(Sampler[list[int]]):
    """Every index once per epoch, in batches, in an order that follows from (seed, epoch).

    Yields indices that count on through the epochs, as `SampleWrapper` wants them, or plain ones
    for wrappers written elsewhere. Of several processes that train together, each gets a part of
    every shuffled batch; of several that evaluate, whole batches in turn, so that what is computed
    together does not depend on their number.

    Attributes:
        epoch: Set before iterating, from 0.
        start: Number of batches of the epoch to leave out; set before iterating.
    """

    def __init__(
        self,
        samples: Any,
        batch_size: int,
        seed: int,
        shuffle: bool,
        group: Group = ALONE,
    ) -> None:
        self.length = len(samples)
        self.batch_size = batch_size
        self.group = group
        self.count_on = isinstance(samples, SampleWrapper)
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self.start = 0

    @property
    def total(self) -> int:
        """Batches of an epoch, of all processes."""
        return -(-self.length // self.batch_size)

    def __len__(self) -> int:
        return self.total if self.shuffle else len(self._turns())

    def batch(self, number: int) -> list[int]:
        """The indices of one batch of the epoch, from 0, of all processes."""
        first = number * self.batch_size
        return self._order()[first : first + self.batch_size]

    def size(self, number: int) -> int:
        """Samples of one batch, of all processes."""
        return min(self.batch_size, self.length - number * self.batch_size)

    def part(self, number: int) -> range:
        """Which samples of a shuffled batch are this process's; none if they are too few."""
        size, rank = self.size(number), self.group.rank
        first, last = (size * at // self.group.world for at in (rank, rank + 1))
        return range(first, last)

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order()
        if self.shuffle:
            for number in range(self.start, self.total):
                first = number * self.batch_size
                yield [order[first + at] for at in self.part(number) or (0,)]
        else:
            for number in self._turns():
                first = number * self.batch_size
                yield order[first : first + self.batch_size]

    def _turns(self) -> range:
        return range(self.start + self.group.rank, self.total, self.group.world)

    def _order(self) -> list[int]:
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.length, generator=generator)
        else:
            order = torch.arange(self.length)
        return (order + self.epoch * self.length * self.count_on).tolist()


class LostWorkerError(UserError):
    """A process that reads samples was killed, by a signal or for want of memory."""

    def __init__(self) -> None:
        super().__init__(
            "a process that reads the data was killed; if the memory was full, lower num_workers"
        )


class BatchLoader(DataLoader[Any]):
    """A `DataLoader` whose mistakes in user data arrive as one line, not as a worker's traceback.

    Args:
        samples: A wrapper dataset.
        batch_size: Samples per batch; the last batch of an epoch may be smaller.
        shuffle: Draw a new order, and new samples, in each epoch; otherwise always the same.
        seed: Of order and samples.
        num_workers: Processes; by default one per core, at most 8, shared with the group.
        pin_memory: Page-locked batches, for CUDA.
        group: The processes that share the batches.
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
        group: Group = ALONE,
    ) -> None:
        self.samples = samples
        if isinstance(samples, SampleWrapper):
            samples.seed = seed
        self.batches = EpochBatches(samples, batch_size, seed, shuffle, group)
        own_cores = max(1, _cores() // group.local_world)
        workers = min(8, own_cores) if num_workers is None else num_workers
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
        try:
            for batch in self._begun():
                if isinstance(batch, UserError):
                    raise batch
                yield batch
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise LostWorkerError from None

    def _begun(self) -> Iterator[Any]:
        """The batches; a worker that dies is noticed when the next one is fetched.

        Torch's signal handler would raise anywhere, in the middle of an optimizer's step, too.
        """
        handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        batches = super().__iter__()
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler)
        return batches

    def close(self) -> None:
        """End the workers; those of a loader that an error's frames hold would wait for seconds."""
        if isinstance(self._iterator, _MultiProcessingDataLoaderIter):
            self._iterator._shutdown_workers()
            self._iterator = None

    def file_name(self, index: int) -> str:
        """The file of sample ``index`` of an unshuffled loader, or its number."""
        return file_name(self.samples, index)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, from 0, and the batch of it, that the next iteration begins with."""
        self.batches.epoch = epoch
        self.batches.start = start

    def numbers(self) -> Iterator[int]:
        """Of an unshuffled loader: the number among all samples of each that it gives."""
        return chain.from_iterable(self.batches)

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
