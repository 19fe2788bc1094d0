"""Show progress and the time left: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from engine import progress_bar
from parallel import ALONE, Group, LostProcessError

# Called with the number of rows done, and of all rows.
Progress = Callable[[int, int], None]

INTERVAL = 30  # seconds between lines
TALK = 1  # seconds between exchanges with the other processes


class Pace:
    """The progress of all processes, in pixels of the outputs, shown by the first process.

    Args:
        title: What is being made.
        pixels: Number of pixels in all outputs of all processes.
        images: Number of these outputs; None not to show it.
        clock: Function that returns the time in seconds.
    """

    def __init__(
        self,
        title: str,
        pixels: int,
        images: int | None = None,
        group: Group = ALONE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._pixels, self._images = title, pixels, images
        self._group, self._clock = group, clock
        self._own, self._told, self._all = (0, 0), (0, 0), (0, 0)  # pixels and images
        self._began = self._said = self._talked = clock()
        self._bar = progress_bar(
            [],
            title,
            hidden=not group.is_first,
            total=pixels,
            unit="pixel",
            unit_scale=True,
            smoothing=0,  # the mean speed
        )

    def add(self, pixels: int, images: int = 0) -> None:
        """Count more pixels and images as done, and show it."""
        self._own = self._own[0] + pixels, self._own[1] + images
        now = self._clock()
        if self._group.world == 1:
            self._all = self._own
        elif now - self._talked >= TALK:
            self._talked = now
            self._all = self._exchange()
        if self._images is not None:
            self._bar.set_postfix_str(f"{self._all[1]} of {self._images} images", refresh=False)
        self._bar.update(self._all[0] - self._bar.n)
        if self._bar.disable and self._group.is_first and now - self._said >= INTERVAL:
            self._said = now
            print(self._line(now - self._began), file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print a line to stderr, above the bar."""
        self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()

    def _exchange(self) -> tuple[int, int]:
        new = [mine - told for mine, told in zip(self._own, self._told, strict=True)]
        self._told = self._own
        try:
            return self._group.tally("pixels", new[0]), self._group.tally("images", new[1])
        except LostProcessError:  # reported at the end; this process still does its share
            return self._all

    def _line(self, seconds: float) -> str:
        done, total = self._all[0], self._pixels
        unit, name = (1e9, "Gpixel") if total >= 1e9 else (1e6, "Mpixel")
        parts = [f"{_number(done / unit)} of {_number(total / unit)} {name}"]
        if self._images is not None:
            parts.insert(0, f"{self._all[1]} of {self._images} images")
        if 0 < done <= total:
            parts.append(f"{_duration(seconds * (total - done) / done)} left")
        return f"{self._title}: {', '.join(parts)}"


class Part:
    """The progress of one image, as a part of the whole."""

    def __init__(self, pace: Pace, pixels: int) -> None:
        self._pace, self._pixels, self._told = pace, pixels, 0

    def reach(self, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` rows are done, and count those that are new."""
        now = self._pixels * done // total
        self._pace.add(now - self._told)
        self._told = now


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def counted(bands: Iterator[np.ndarray], total: int, progress: Progress) -> Iterator[np.ndarray]:
    """Pass on bands of rows (rows, W, C); each is reported when the next is requested."""
    done = 0
    for band in bands:
        yield band
        done += len(band)
        progress(done, total)
