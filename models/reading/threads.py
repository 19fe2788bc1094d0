"""Pieces of work on several threads, each of which computes on its own.

Two threads that share every operation wait for each other at the end of each one; if another
process takes one of the cores, both are as slow as the slower one. Pieces that go one by one to
whichever thread is free suffer half as much, and cost nothing extra on an idle machine.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


class _Crew:
    """A pool of threads kept for further work, as many as the last caller computed with."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.pool: ThreadPoolExecutor | None = None

    def of(self, count: int) -> ThreadPoolExecutor:
        with self.lock:
            if self.pool is None or self.count != count:
                if self.pool is not None:
                    self.pool.shutdown(wait=False)  # it still finishes the work it has
                self.pool, self.count = _started(count), count
            return self.pool


def _started(count: int) -> ThreadPoolExecutor:
    """Start a pool whose threads are all running, and compute with one thread each."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="pieces")
    before, all_there = torch.get_num_threads(), threading.Barrier(count + 1)

    def compute_alone() -> None:
        torch.get_num_threads()  # else the first operation resets it to the default of new threads
        torch.set_num_threads(1)
        all_there.wait()

    for _ in range(count):
        pool.submit(compute_alone)
    all_there.wait()
    # Each thread has its own number, but new threads start with the one that was set last.
    torch.set_num_threads(before)
    return pool


_crew = _Crew()


def _forget() -> None:
    """Start afresh in a forked process, whose only thread is the one that forked."""
    global _crew
    _crew = _Crew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def each_alone(work: Callable[..., T], pieces: Iterable[tuple[object, ...]]) -> list[T]:
    """Return the results of ``work(*piece)`` for each piece, in order; for inference only.

    It uses as many threads as the caller computes with; with one, the caller does the work.
    """
    pieces, count = list(pieces), torch.get_num_threads()
    if count == 1 or len(pieces) < 2:
        return [work(*piece) for piece in pieces]
    inference = torch.is_inference_mode_enabled()

    def done(piece: tuple[object, ...]) -> T:
        with torch.inference_mode(inference), torch.no_grad():
            return work(*piece)

    futures = [_crew.of(count).submit(done, piece) for piece in pieces]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
