"""Retries for reading from disks that fail for a moment, such as network disks."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

WAITS = (0.5, 2.0, 5.0)  # seconds before each further attempt

_NAMES = (
    *("EIO", "ESTALE", "ETIMEDOUT", "EAGAIN", "EINTR", "EREMOTEIO", "ENOLINK", "ECOMM"),
    *("ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "ENOTCONN"),
    *("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH"),
)
PASSING = frozenset(getattr(errno, name) for name in _NAMES if hasattr(errno, name))


def patiently(read: Callable[[], T]) -> T:
    """Call ``read`` and return its result; retry after errors that may be temporary.

    Raises:
        OSError: If an error is of another kind, at once; or the last attempt's error.
    """
    for wait in WAITS:
        try:
            return read()
        except OSError as error:
            if error.errno not in PASSING:
                raise
        time.sleep(wait)
    return read()
