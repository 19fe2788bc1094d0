"""Handle the signals that ask a run to stop or to save."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

from cli.interrupt import STOPPING, end_at_once


class Stopped(SystemExit):
    """Raised to end a saved run because of a signal; holds the exit status."""


class Signals:
    """A handler that notes SIGTERM, SIGINT, SIGHUP and SIGUSR1, to act on between two steps.

    Until `begin` there is nothing to save, so signals that stop the run do so at once. A second
    Ctrl-C interrupts a step. Signals that are ignored, as SIGHUP under nohup, stay ignored.

    Attributes:
        stop: Exit status to stop with, or None.
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
        """Start to note signals, as from now on there are steps to finish and save."""
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
