"""Being asked to stop before there is anything to lose: during imports, and while images are read.

Programs import this first. It needs nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# What the exit status says of a program that a signal has stopped: 128 and its number.
STOPPING = {"SIGTERM": 143, "SIGINT": 130, "SIGHUP": 129}


def end_at_once(*names: str) -> None:
    """Let signals end the program wherever it is, by default Ctrl-C; that is said in one line.

    An exception instead could come anywhere in an import, and threads or processes that read images
    would finish theirs first. Of several processes, the one that has started them speaks; the
    kernel ends them, since they may wait for each other outside of Python.

    Args:
        names: Of signals; those that this system lacks, and those that are ignored, stay as they
            are.
    """
    for name in names or ("SIGINT",):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL if "RANK" in os.environ else _end)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """`end_at_once` for a part of a program, such as imports."""
    before = signal.getsignal(signal.SIGINT)
    end_at_once()
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(number: int, _: FrameType | None) -> None:
    with suppress(Exception):  # it may be in the middle of a print
        sys.stdout.flush()
    if number == signal.SIGINT:
        with suppress(OSError):
            os.write(2, b"interrupted\n")
    os._exit(128 + number)
