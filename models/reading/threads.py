"""Pieces of work on several threads, each of which computes on its own.

Two threads that share every operation wait for each other at the end of each one; if another
process takes one of the cores, both are as slow as the slower one. Pieces that go one by one to
whichever thread is free suffer half as much, and cost nothing extra on an idle machine.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

_pools: dict[int, ThreadPoolExecutor] = {}  # by their number of threads, kept for further work
_lock = threading.Lock()


def threads_for(*inputs: object) -> int:
    """Return how many threads may compute a function of these inputs in inference.

    One, the caller's, unless all tensors are on the CPU and nothing in the caller's thread changes
    or records what operations do: autocast, a tracer, a profiler, or a mode of torch.
    """
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    watched = (
        torch.is_autocast_enabled("cpu")
        or torch._C._get_tracing_state() is not None
        or torch.compiler.is_compiling()
        or torch._C._len_torch_function_stack() > 0
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._autograd._profiler_enabled()
    )
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    return torch.get_num_threads() if on_cpu and not watched else 1


def each_alone(work: Callable[..., T], pieces: Sequence[tuple[object, ...]]) -> list[T]:
    """Return the results of ``work(*piece)`` for each piece, in order; for inference only.

    It uses as many threads as the caller computes with. The caller does the work itself where that
    is one, see `threads_for`, or where there are fewer pieces than threads.
    """
    count = threads_for(*pieces[0]) if pieces else 1
    if count == 1 or len(pieces) < count:
        return [work(*piece) for piece in pieces]
    inference = torch.is_inference_mode_enabled()

    def compute(piece: tuple[object, ...]) -> T:
        with torch.inference_mode(inference), torch.no_grad():
            return work(*piece)

    futures: list[Future[T]] = []
    found: list[T] = []
    try:
        _submit(futures, compute, pieces, count)
        # No variable may hold a future: with its exception it would keep tensors alive.
        for index in range(len(futures)):
            found.append(futures[index].result())
    finally:
        for index in range(len(futures)):
            futures[index].cancel()
        wait(futures)
        futures.clear()
    return found + [work(*piece) for piece in pieces[len(found) :]]


def _submit(
    futures: list[Future[T]],
    compute: Callable[[tuple[object, ...]], T],
    pieces: Sequence[tuple[object, ...]],
    count: int,
) -> None:
    """Hand over as many pieces as possible: none where there can be no more threads."""
    try:
        pool = _pool(count)
        for piece in pieces:
            futures.append(pool.submit(compute, piece))
    except RuntimeError:  # none can be started, or the interpreter is about to end
        return


def _pool(count: int) -> ThreadPoolExecutor:
    with _lock:
        if count not in _pools:
            _pools[count] = _started(count)
        return _pools[count]


def _started(count: int) -> ThreadPoolExecutor:
    """Start a pool whose threads are all running, and compute with one thread each."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="pieces")
    before, all_there = torch.get_num_threads(), threading.Barrier(count + 1)

    def compute_alone() -> None:
        torch.get_num_threads()  # else the first operation resets it to the default of new threads
        torch.set_num_threads(1)
        all_there.wait()

    try:
        for _ in range(count):
            pool.submit(compute_alone)
        all_there.wait()
    except BaseException:
        all_there.abort()  # or those that wait would keep the program from ending
        pool.shutdown()
        raise
    finally:
        # Each thread has its own number, but new threads start with the one that was set last.
        torch.set_num_threads(before)
    return pool


def _forget() -> None:
    """Start afresh in a forked process, whose only thread is the one that forked."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
