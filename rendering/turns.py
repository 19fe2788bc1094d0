"""Render safely inside other programs, with their threads, forks and settings of torch."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from weakref import WeakSet

import numpy as np
import torch

from errors import UserError

CPU = torch.device("cpu")
_known: WeakSet[Turns] = WeakSet()
_forked = False


class Turns:
    """A lock that lets one thread at a time work with a model.

    One rendering uses all cores or the GPU, and sizes its tiles by the free memory. So several at a
    time would gain little and could run out of memory.

    Args:
        device: Device of the model.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.lock = threading.RLock()
        _known.add(self)

    @contextmanager
    def turn(self, notes: list[str]) -> Iterator[None]:
        """Wait for the turn, and set torch and NumPy to their defaults during it.

        Autocast, inference mode, the default device and `numpy.errstate` are restored at the end.
        After a fork, torch has lost its threads and would wait for them forever, so it continues
        with one.

        Args:
            notes: List to which messages for the caller are appended.

        Raises:
            UserError: If the model is on a GPU, which a forked process cannot share.
        """
        if _forked:
            self._do_without_threads(notes)
        with (
            self.lock,
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast(self.device.type, enabled=False),
            nullcontext() if torch.get_default_device() == CPU else CPU,  # slow, so only if needed
            np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"),
        ):
            yield

    def _do_without_threads(self, notes: list[str]) -> None:
        if self.device.type != "cpu":
            raise UserError(
                f"a model on {self.device} cannot be used after a fork: begin processes with "
                "multiprocessing.get_context('spawn'), or load the model in each"
            )
        if torch.get_num_threads() > 1:
            torch.set_num_threads(1)
            notes.append(
                "a forked process renders with one thread; to use more, begin it with "
                "multiprocessing.get_context('spawn')"
            )


def _renew() -> None:
    """Renew the locks in a forked child, where locks held by other threads are never released."""
    global _forked
    _forked = True
    for turns in _known:
        turns.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
