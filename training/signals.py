"""Asking a run to stop, or to save."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

from parallel import Group

# What the exit status of a run says that was stopped by a signal: 128 and its number.
STOPPING = {"SIGTERM": 143, "SIGINT": 130}


class Stopped(SystemExit):
    """The run has saved what it did and ends because of a signal; holds the exit status."""


class Signals:
    """SIGTERM, SIGINT and SIGUSR1 are noted, and heeded between two steps; twice Ctrl-C interrupts.

    Attributes:
        stop: Exit status that was asked for, or None.
        save: Whether a save was asked for (SIGUSR1).
    """

    def __init__(self) -> None:
        self.stop: int | None = None
        self.save = False
        self._before: dict[int, signal.Handlers | int | None] = {}

    def __enter__(self) -> Signals:
        for name in (*STOPPING, "SIGUSR1"):
            if hasattr(signal, name):
                number = getattr(signal, name)
                self._before[number] = signal.signal(number, self._note)  # type: ignore[assignment]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if name not in STOPPING:
            self.save = True
        elif name == "SIGINT" and self.stop is not None:
            raise KeyboardInterrupt
        else:
            self.stop = STOPPING[name]

    def check(self, group: Group) -> None:
        """Where nothing is to be saved: raise `Stopped` if a process of the group was asked to."""
        (stop,) = group.largest(self.stop or 0)
        if stop:
            raise Stopped(stop)
