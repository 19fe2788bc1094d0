"""Asking a run to stop, or to save."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

from cli.interrupt import STOPPING, end_at_once


class Stopped(SystemExit):
    """The run has saved what it did and ends because of a signal; holds the exit status."""


class Signals:
    """SIGTERM, SIGINT, SIGHUP and SIGUSR1: noted, and heeded between two steps.

    Until `begin` there is nothing to save, and those that stop do so at once. A second Ctrl-C
    interrupts a step. What is ignored, as SIGHUP under nohup, stays so.

    Attributes:
        stop: Exit status that was asked for, or None.
        save: Whether a save was asked for (SIGUSR1).
    """

    def __init__(self) -> None:
        self.stop: int | None = None
        self.save = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for name in (*STOPPING, "SIGUSR1"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.getsignal(number)
        end_at_once(*STOPPING)
        if hasattr(signal, "SIGUSR1"):
            signal.signal(signal.SIGUSR1, self._note)
        return self

    def begin(self) -> None:
        """Note that from here on there are steps to finish and to save."""
        for number in self._before:
            signal.signal(number, self._note)

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
