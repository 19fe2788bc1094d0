"""The processes of a run, and the communication between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cli.command import describe, first_line, is_out_of_memory
from errors import UserError

T = TypeVar("T")

CPU = torch.device("cpu")


class LostProcessError(UserError):
    """The error that another process of the run has ended, or cannot be reached."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"another process of this run has ended, or cannot be reached ({cause})")


@dataclass(frozen=True)
class Group:
    """The processes of a run, and which of them this is.

    All methods except `tally` must be called by all processes, in the same order.

    Attributes:
        rank: Number of this process, from 0.
        world: Number of processes.
        local_rank, local_world: The same for this machine.
        device: Device that this process computes on.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def __str__(self) -> str:
        return str(self.device) if self.world == 1 else f"{self.world} x {self.device.type}"

    def largest(self, *values: int) -> list[int]:
        """Find the largest of each value over the processes; waits for all of them."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.int64)
        with self.talking():
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor.tolist()

    def mean(self, value: Tensor) -> Tensor:
        """Average a tensor on ``device`` over the processes."""
        if self.world == 1:
            return value
        total = value.clone()
        with self.talking():
            dist.all_reduce(total)
        return total / self.world

    def gather(self, values: list[T]) -> list[T]:
        """Concatenate the lists of all processes."""
        if self.world == 1:
            return values
        lists: list[list[T]] = [[] for _ in range(self.world)]
        with self.talking():
            dist.all_gather_object(lists, values)
        return [value for part in lists for value in part]

    def tally(self, name: str, amount: int) -> int:
        """Add to a sum over processes and return it as it is so far, without waiting for any."""
        with self.talking():
            return dist.distributed_c10d._get_default_store().add(f"tally {name}", amount)

    def from_first(self, make: Callable[[], T]) -> T:
        """Call ``make`` in the first process, and return its result in all."""
        made = [make() if self.is_first else None]
        if self.world > 1:
            with self.talking():
                dist.broadcast_object_list(made)
        return made[0]  # type: ignore[return-value]

    def agree(self, what: str, value: str) -> None:
        """Raise a `UserError` if a value is not the same in all processes."""
        if len(set(self.gather([value]))) > 1:
            raise UserError(f"{what} differ between the processes; each needs the same files")

    def fail_together(self, error: Exception | None) -> None:
        """Raise in all processes the error that one of them has failed with, if any has.

        Args:
            error: Error of this process; None if it has not failed.
        """
        if self.world > 1:
            (failed,) = self.largest(int(error is not None))
            if failed:
                raise UserError(self.gather([] if error is None else [reason(error)])[0])
        if error is not None:
            raise error

    def attempt(self, make: Callable[[], T]) -> T:
        """Call ``make`` and return its result; if it fails in one process, all of them fail.

        Args:
            make: Function that must not use the group.
        """
        made, failure = None, None
        try:
            made = make()
        except Exception as error:
            if not is_failure(error):
                raise
            failure = error
        self.fail_together(failure)
        return made  # type: ignore[return-value]

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Turn network errors about a process that is gone into a `LostProcessError`."""
        try:
            yield
        except RuntimeError as error:
            known = r"gloo|nccl|connection|socket|broken pipe|timed? ?out|peer"
            told = isinstance(error, dist.DistError) or re.search(known, str(error), re.I)
            if self.world == 1 or not told:
                raise
            raise LostProcessError(first_line(error)) from error

    def in_step(self, batches: Iterable[T], after_batch: Callable[[], Any]) -> Iterator[T]:
        """Yield the batches of this process, and call ``after_batch`` after each.

        All processes call it equally often, even if some have fewer batches, so it may use the
        group. With a single process, the number of batches need not be known.
        """
        if self.world == 1:
            for batch in batches:
                yield batch
                after_batch()
            return
        assert isinstance(batches, Sized)
        (rounds,) = self.largest(len(batches))
        rest = iter(batches)
        for _ in range(rounds):
            yield from islice(rest, 1)
            after_batch()

    def average_gradients(self, model: nn.Module) -> nn.Module:
        """Wrap a model so that ``backward`` averages its gradients over the processes.

        The parameters stay the same.
        """
        if self.world == 1:
            return model
        self.largest(0)  # ensures that all are there: NCCL would wait forever
        ids = [self.device] if self.device.type == "cuda" else None
        with self.talking():
            # Published models may have unused parameters. This also keeps the buckets of gradients
            # unchanged, so that a resumed run sums in the same order.
            return nn.parallel.DistributedDataParallel(
                model, device_ids=ids, find_unused_parameters=True
            )


ALONE = Group()


def is_failure(error: Exception) -> bool:
    """Tell whether an error is reported in a line, as no fault of the program itself."""
    if isinstance(error, LostProcessError):
        return False
    return isinstance(error, (UserError, OSError)) or is_out_of_memory(error)


def reason(error: Exception) -> str:
    """Return the text about a failure, to follow "error: "; other errors are raised again."""
    if not is_failure(error):
        raise error
    if isinstance(error, (UserError, OSError)):
        return "\n".join(line.removeprefix("error: ") for line in describe(error).splitlines())
    return f"out of memory: {first_line(error)}"
