"""Pieces of work on several threads, each of which computes alone.

Two threads that share every operation wait for each other at the end of each; where another process
takes one of the cores, both are as slow as the slower one. Pieces that are taken up one after the
other by whichever thread is free suffer from it half as much, and cost nothing on an idle machine.
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
    """Threads that are kept for further work, as many as the last caller computed with."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.pool: ThreadPoolExecutor | None = None

    def of(self, count: int) -> ThreadPoolExecutor:
        with self.lock:
            if self.pool is None or self.count != count:
                if self.pool is not None:
                    self.pool.shutdown(wait=False)  # what it has been given, it still does
                self.pool, self.count = _started(count), count
            return self.pool


def _started(count: int) -> ThreadPoolExecutor:
    """A pool whose threads are all there, and compute with one thread each."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="pieces")
    before, all_there = torch.get_num_threads(), threading.Barrier(count + 1)

    def compute_alone() -> None:
        torch.get_num_threads()  # or else the first operation sets it to what new threads have
        torch.set_num_threads(1)
        all_there.wait()

    for _ in range(count):
        pool.submit(compute_alone)
    all_there.wait()
    # The number belongs to each thread, but new threads begin with the one that was set last.
    torch.set_num_threads(before)
    return pool


_crew = _Crew()


def _forget() -> None:
    """Begin anew in a forked process, which has no threads but the one that forked."""
    global _crew
    _crew = _Crew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def each_alone(work: Callable[..., T], pieces: Iterable[tuple[object, ...]]) -> list[T]:
    """What ``work(*piece)`` returns for each piece, in order; in inference.

    There are as many threads as the caller computes with; with one, it does the work itself.
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
