"""The order of samples, and the batches they form in each epoch and process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler

from datasets.wrappers import SampleWrapper
from parallel import ALONE, Group


class EpochBatches(Sampler[list[int]]):
    """A sampler of every index once per epoch, in batches, in an order that (seed, epoch) decides.

    Yields indices that count on through the epochs, as `SampleWrapper` needs them, or plain ones
    for wrappers written elsewhere. Processes that train together each get a part of every shuffled
    batch. Processes that evaluate take turns with whole batches, so that the grouping of samples
    does not depend on the number of processes.

    Attributes:
        epoch: Number of the epoch, from 0; set before iterating.
        start: Number of batches of the epoch to skip; set before iterating.
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
        """Number of batches of an epoch, across all processes."""
        return -(-self.length // self.batch_size)

    def __len__(self) -> int:
        return self.total if self.shuffle else len(self._turns())

    def batch(self, number: int) -> list[int]:
        """Return the indices of one batch of the epoch, numbered from 0, across all processes."""
        first = number * self.batch_size
        return self._order()[first : first + self.batch_size]

    def size(self, number: int) -> int:
        """Return the number of samples of one batch, across all processes."""
        return min(self.batch_size, self.length - number * self.batch_size)

    def part(self, number: int) -> range:
        """Return this process's samples of a shuffled batch; empty if there are too few."""
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
