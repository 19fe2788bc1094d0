"""Load samples in batches, with processes that read them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

import datasets
from datasets.check import check_sizes
from datasets.order import EpochBatches
from datasets.reading import DataError, Reading, begin
from datasets.wrappers import SampleWrapper, file_name
from errors import UserError
from parallel import ALONE, Group

__all__ = ["BatchLoader", "DataError", "EpochBatches", "LostWorkerError", "make_loader"]


class LostWorkerError(UserError):
    """The error of a reading process that was killed, by a signal or because memory ran out."""

    def __init__(self) -> None:
        super().__init__(
            "a process that reads the data was killed; if the memory was full, lower num_workers"
        )


def _to_stderr(note: str) -> None:
    with suppress(OSError, ValueError):  # the terminal may be gone
        print(note, file=sys.stderr, flush=True)


class BatchLoader(DataLoader[Any]):
    """A `DataLoader` of batches ``{inp, coord, cell, gt}`` on the device of the group.

    Mistakes in user data raise a `DataError` of one line, not a worker's traceback. If no processes
    can be started, the samples are read in this one.

    Args:
        samples: A wrapper dataset.
        batch_size: Samples per batch; the last batch of an epoch may be smaller.
        shuffle: Draw a new order and new samples in each epoch; otherwise they are always the same.
        seed: Seed of order and samples.
        num_workers: Number of processes; by default one per core, at most 8, shared with the group.
        group: Group of processes that share the batches.
        skip_unreadable: Continue if an image cannot be read: with the sample of the next one in its
            place if the order is shuffled, else without it.
        on_note: Function called with lines for the user, on stderr by default: each image that is
            left out, once, and that no processes can be started.
        multiprocessing_context: Way to start processes, such as "spawn".
    """

    def __init__(
        self,
        samples: Dataset[Any],
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        num_workers: int | None = None,
        group: Group = ALONE,
        skip_unreadable: bool = False,
        on_note: Callable[[str], None] = _to_stderr,
        multiprocessing_context: str | None = None,
    ) -> None:
        self.samples = samples
        if isinstance(samples, SampleWrapper):
            samples.seed = seed
        self.batches = EpochBatches(samples, batch_size, seed, shuffle, group)
        self.device = group.device
        self.on_note = on_note
        self._told: set[str] = set()
        self._left_out: set[int] = set()
        own_cores = max(1, _cores() // group.local_world)
        workers = min(8, own_cores) if num_workers is None else num_workers
        reading = Reading(samples, skip_unreadable, replace=skip_unreadable and shuffle)
        super().__init__(
            reading,
            batch_sampler=self.batches,
            num_workers=workers,
            collate_fn=reading.batch,
            pin_memory=self.device.type == "cuda",
            persistent_workers=workers > 0,
            generator=torch.Generator().manual_seed(seed),
            multiprocessing_context=multiprocessing_context if workers else None,
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._left_out.clear()
        try:
            for batch in self._begun():
                if isinstance(batch, DataError):
                    raise DataError(str(batch))  # `batch` would hold the workers in a cycle
                for note in batch.notes:
                    self._tell(note)
                self._left_out.update(batch.left_out)
                if batch.fields:
                    yield batch.on(self.device)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise LostWorkerError from None

    def _tell(self, note: str) -> None:
        if note not in self._told:
            self._told.add(note)
            self.on_note(note)

    def _begun(self) -> Iterator[Any]:
        """Start torch's iterator over batches, in this process if no others can be started."""
        in_main = threading.current_thread() is threading.main_thread()
        self.worker_init_fn = partial(begin, in_main)
        with _signals_as_they_are(in_main):
            try:
                return super().__iter__()
            except (OSError, RuntimeError) as error:
                thread = isinstance(error, RuntimeError) and "start new thread" in str(error)
                if not self.num_workers or not (isinstance(error, OSError) or thread):
                    raise
                _forget(error)
                reason = getattr(error, "strerror", None) or error
            self.num_workers = 0
            self._tell(f"the data is read without further processes: none can be started: {reason}")
            return super().__iter__()

    def close(self) -> None:
        """End the workers; if an error's frames hold the loader, they would take seconds to end."""
        if isinstance(self._iterator, _MultiProcessingDataLoaderIter):
            self._iterator._shutdown_workers()
            self._iterator = None

    def notes(self) -> list[str]:
        """Return lines about how the images are read, such as gray as RGB."""
        notes = getattr(getattr(self.samples, "dataset", None), "notes", None)
        return notes() if callable(notes) else []

    def file_name(self, index: int) -> str:
        """Return the file of sample ``index`` of an unshuffled loader, or its number."""
        return file_name(self.samples, index)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, from 0, and its batch that the next iteration begins with."""
        self.batches.epoch = epoch
        self.batches.start = start

    def numbers(self) -> Iterator[int]:
        """Yield the numbers, across all processes, of the samples an unshuffled loader gives.

        Iterate in step with the batches: samples are known to be left out only once they are read.
        """
        return (n for n in chain.from_iterable(self.batches) if n not in self._left_out)

    def files_of(self, number: int) -> list[str]:
        """Return the files of one batch of the epoch, numbered from 0."""
        length = self.batches.length
        return [self.file_name(index % length) for index in self.batches.batch(number)]


@contextmanager
def _signals_as_they_are(in_main: bool) -> Iterator[None]:
    """Delay Ctrl-C while processes start, hide it from them, and keep this one's signal handlers.

    A worker that dies is noticed when the next batch is fetched. Torch's handler would raise
    anywhere, even in the middle of an optimizer's step.
    """
    handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    masks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    try:
        yield
    finally:
        if handler is not None and in_main:
            signal.signal(signal.SIGCHLD, handler)
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _forget(error: BaseException) -> None:
    """Clear away torch's half-made iterator without printing its complaint about that."""
    complain = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        traceback.clear_frames(error.__traceback__)
    finally:
        sys.unraisablehook = complain


def make_loader(
    section: Any, *, scale: float | None = None, shave: int = 0, channels: int = 3, **options: Any
) -> BatchLoader:
    """Make the loader of a `DataSection` of a config, after checking the sizes of its images.

    Args:
        section: Section with dataset, wrapper and batch size.
        scale, shave: As in `check_sizes`.
        channels: Number of channels of the images.
        options: As in `BatchLoader`.

    Raises:
        UserError: As in `check_sizes`; or if the dataset cannot give that number of channels.
    """
    dataset = datasets.make(section.dataset, None if channels == 3 else {"channels": channels})
    skip = options.get("skip_unreadable", False)
    parts = (dataset, *(getattr(dataset, side, None) for side in ("low", "high")))
    failures = [line for part in parts for line in getattr(part, "failures", {}).values()]
    if failures and not skip:
        raise UserError("\n".join(failures))
    samples = datasets.make(section.wrapper, args={"dataset": dataset})
    check_sizes(
        samples,
        scale,
        shave,
        skip_unreadable=skip,
        progress=options.get("group", ALONE).is_first,
    )
    return BatchLoader(samples, section.batch_size, **options)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
