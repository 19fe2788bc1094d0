"""Stop a program while there is nothing to lose: during imports, and while images are read.

Programs import this first. It needs only the standard library.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# Exit statuses of a program that was stopped by a signal: 128 plus its number.
STOPPING = {"SIGTERM": 143, "SIGINT": 130, "SIGHUP": 129}


def end_at_once(*names: str) -> None:
    """Let signals, by default Ctrl-C, end the program wherever it is, with a message of one line.

    An exception instead could occur anywhere in an import, and threads or processes that read
    images would finish theirs first. If there are several processes, only the one that started
    them prints the message; the kernel ends the others, since they may wait for each other outside
    of Python.

    Args:
        names: Names of signals; those that this system lacks, and those that are ignored, stay as
            they are.
    """
    for name in names or ("SIGINT",):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL if "RANK" in os.environ else _end)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Apply `end_at_once` to a part of a program, such as imports."""
    before = signal.getsignal(signal.SIGINT)
    end_at_once()
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(number: int, _: FrameType | None) -> None:
    with suppress(Exception):  # the program may be in the middle of a print
        sys.stdout.flush()
    if number == signal.SIGINT:
        with suppress(OSError):
            os.write(2, b"interrupted\n")
    os._exit(128 + number)
