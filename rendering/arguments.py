"""The numbers that callers give from Python, checked."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from configs.spec import UserError
from rendering.grid import Region
from rendering.job import Wanted


def read_wanted(
    scale: float | Sequence[float] | None,
    size: Sequence[int] | None,
    long_side: int | None,
    region: Sequence[float] | None,
    max_pixels: int,
    quality: int,
) -> Wanted:
    """What a caller of `Upscaler` asks for.

    Raises:
        UserError: If there is not exactly one size, or something is no number that it can be.
    """
    if sum(way is not None for way in (scale, size, long_side)) != 1:
        raise UserError("give exactly one of scale, size and long_side")
    single = scale is not None and not isinstance(scale, (tuple, list))
    return Wanted(
        _numbers("scale", (scale, scale) if single else scale, float, 2),
        _numbers("size", size, operator.index, 2),
        None if long_side is None else _numbers("long_side", [long_side], operator.index, 1)[0],
        None if region is None else Region(*_numbers("region", region, float, 4)),
        whole_number("max_pixels", max_pixels, 1, 2**40),
        whole_number("quality", quality, 1, 100),
    )


def _numbers(name: str, values: Any, convert: Callable[[Any], Any], count: int) -> Any:
    """So many numbers of a kind; None stays None."""
    if values is None:
        return None
    try:
        numbers = tuple(convert(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise UserError(f"{name}: expected {count} numbers, got {values!r}")
    return numbers


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """A number of any library as an int.

    Raises:
        UserError: If it is none from ``low`` to ``high``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if not low <= number <= high:
        raise UserError(f"{name}: expected a whole number from {low} to {high}, got {value!r}")
    return number
