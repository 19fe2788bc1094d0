"""Keep what was used recently, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """Values by key, made when first asked for; the least recently used are dropped.

    Several threads may ask at once: a value is made by one of them, and the others wait for it. A
    value that could not be made is tried again by the next that asks.

    Args:
        limit: Number of bytes to keep; the value asked for last is kept whatever its size.
        size: Function that returns the bytes of a value, which may grow.
    """

    def __init__(self, limit: float, size: Callable[[V], float]) -> None:
        self.limit, self.size = limit, size
        self.made = 0
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """Return the value of a key, and make it if it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:  # another thread has made it
                    return self._values[key]
            try:
                value = make()
            except BaseException:
                with self._lock:
                    self._making.pop(key, None)
                raise
            with self._lock:
                self._making.pop(key, None)
                self.made += 1
                self._values[key] = value
                self._shrink()
            return value

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._values

    @property
    def bytes(self) -> float:
        """The bytes of all values."""
        with self._lock:
            return sum(map(self.size, self._values.values()))

    def drop(self, key: Hashable) -> None:
        """Drop the value of a key, if there is one."""
        with self._lock:
            self._values.pop(key, None)

    def _shrink(self) -> None:
        total = sum(map(self.size, self._values.values()))
        while total > self.limit and len(self._values) > 1:
            _, oldest = self._values.popitem(last=False)
            total -= self.size(oldest)
