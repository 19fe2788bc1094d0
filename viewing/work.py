"""Run renderings on as many threads as there are cores, and no more at once than can wait."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

import torch

T = TypeVar("T")

WAITING = 32  # requests that may be worked on or wait
RETRY = 2  # seconds after which to try again


class BusyError(Exception):
    """The error of a request for which there is no place in the queue."""


class Workers:
    """Threads that each compute on their own, one per core, and the queue before them.

    Work is done in the order it was asked for. Work of a request that is cancelled is not begun.

    Args:
        count: Number of threads; None: the cores that this process may use.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count or _cores()
        self.running = 0
        self.requests = 0
        self._pool = ThreadPoolExecutor(
            self.count, thread_name_prefix="render", initializer=_compute_alone
        )

    async def run(self, work: Callable[[], T]) -> T:
        """Do some work on a thread, and wait for it."""
        self.running += 1
        try:
            return await asyncio.wrap_future(self._pool.submit(work))
        finally:
            self.running -= 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place in the queue.

        Raises:
            BusyError: If there is none.
        """
        if self.requests >= WAITING:
            raise BusyError
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    def close(self) -> None:
        """End once the work that has begun is done; what waits is not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _compute_alone() -> None:
    torch.get_num_threads()  # else the first operation resets it to the default of new threads
    torch.set_num_threads(1)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
