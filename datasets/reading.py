"""The work of a process that reads samples, and how it starts and ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from datasets.compact import Batch, Compact, stacked
from datasets.image_file import UnreadableError
from datasets.wrappers import SampleWrapper, file_name
from errors import UserError

PR_SET_PDEATHSIG = 1  # of prctl(2)


class DataError(UserError):
    """A mistake in the data, found while samples were made."""


class Read(NamedTuple):
    """A sample, or why there is none.

    Attributes:
        key: Key of the requested sample.
        sample: The sample; None if it is left out.
        notes: Lines about images that could not be read.
    """

    key: int
    sample: Compact | dict[str, Any] | None
    notes: Sequence[str] = ()


class Reading(Dataset[Any]):
    """A dataset that reads samples, and returns a `DataError` instead of raising it.

    A worker would bury a raised one in a traceback.
    Args:
        samples: A wrapper dataset.
        skip_unreadable: Continue without samples whose image cannot be read.
        replace: Replace them by the sample of the next readable image, in the same epoch.
    """

    def __init__(self, samples: Any, skip_unreadable: bool, replace: bool) -> None:
        self.samples = samples
        self.skip_unreadable = skip_unreadable
        self.replace = replace

    @property
    def is_compact(self) -> bool:
        """Whether a sample is made from its compact form alone."""
        kind = type(self.samples)
        return isinstance(self.samples, SampleWrapper) and all(
            getattr(kind, name) is getattr(SampleWrapper, name)
            for name in ("__getitem__", "_sample")
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int) -> Read | DataError:
        read = self.samples.compact if self.is_compact else self.samples.__getitem__
        epoch, index = divmod(key, len(self))
        notes: list[str] = []
        for step in range(len(self) if self.replace else 1):
            place = (index + step) % len(self)
            try:
                return Read(key, read(epoch * len(self) + place), notes)
            except UnreadableError as error:
                if not self.skip_unreadable:
                    return DataError(str(error))
                name = file_name(self.samples, place)
                notes.append(f"{name}: left out: {str(error).removeprefix(f'{name}: ')}")
            except UserError as error:
                return DataError(str(error))
        if self.replace:
            return DataError(f"none of the images can be read; of the first: {notes[0]}")
        return Read(key, None, notes)

    def batch(self, items: list[Read | DataError]) -> Batch | DataError:
        """Collate what was read into a batch, or return its first `DataError`."""
        reads = []
        for item in items:
            if isinstance(item, DataError):
                return item
            reads.append(item)
        samples: list[Any] = [read.sample for read in reads if read.sample is not None]
        left_out = [read.key for read in reads if read.sample is None]
        notes = [note for read in reads for note in read.notes]
        if not samples:
            return Batch({}, None, left_out, notes)
        shapes = {
            tuple(getattr(value, "shape", None) for value in _values(sample)) for sample in samples
        }
        if len(shapes) > 1:
            return DataError(
                "the samples of a batch differ in size: give inp_size and sample_q, or "
                "batch_size: 1"
            )
        if self.is_compact:
            return Batch(stacked(samples), self.samples.as_grid, left_out, notes)
        return Batch(collate(samples, collate_fn_map=COLLATE), None, left_out, notes)


def _stack(tensors: list[Tensor], *, collate_fn_map: Any = None) -> Tensor:
    return torch.stack(tensors)


# Like torch's default, except that in a worker that one puts tensors into shared memory.
COLLATE = {**default_collate_fn_map, Tensor: _stack}


def _values(sample: Compact | dict[str, Any]) -> Sequence[Any]:
    return sample if isinstance(sample, Compact) else list(sample.values())


def begin(ends_with_thread: bool, _: int) -> None:
    """Set up a process that reads.

    Signals to the program's process group, such as Ctrl-C, do not reach it, as the program finishes
    its step first. If the program is killed, so is this process, before it can complain about
    closed pipes.

    Args:
        ends_with_thread: Whether the thread that started this process lasts as long as the program,
            so that the end of one is the end of the other.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    if sys.platform == "linux" and ends_with_thread:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)
