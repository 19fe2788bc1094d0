"""Check the arguments that callers pass from Python."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np

from errors import UserError
from rendering.grid import FITS, Fit, Region
from rendering.job import Wanted

FLAGS = ("strip", "lossless", "wrap")


class Options(TypedDict, total=False):
    """The less common options.

    Attributes:
        fit: What to do if size has another shape than the image: "crop", "pad" or "stretch"; the
            default is to stretch, with a warning.
        wrap: The image is a seamless texture, whose opposite edges match.
        dpi: Pixels per inch of the file or the Pillow image; by default that of the input.
        strip: Leave out EXIF, XMP, IPTC, texts and density.
        lossless: Write a lossless WebP.
        max_input_pixels: Number of pixels in the largest file that is read; by default 2**28.
    """

    fit: Fit
    wrap: bool
    dpi: float
    strip: bool
    lossless: bool
    max_input_pixels: int


def read_wanted(
    scale: float | Sequence[float] | None,
    size: Sequence[int] | None,
    long_side: int | None,
    region: Sequence[float] | None,
    max_pixels: int,
    quality: int,
    options: Options,
) -> Wanted:
    """Turn the arguments of a call to `Upscaler` into a `Wanted`.

    Raises:
        UserError: If there is not exactly one size, or an argument has an invalid value.
    """
    if sum(way is not None for way in (scale, size, long_side)) != 1:
        raise UserError("give exactly one of scale, size and long_side")
    if unknown := set(options) - set(Options.__annotations__):
        raise UserError(f"there is no argument {', '.join(sorted(unknown))}")
    if long_side is not None and options.get("fit") is not None:
        raise UserError("fit is for an output of a given height and width; long_side has none")
    return Wanted(
        _scale(scale),
        _numbers("size", size, operator.index, 2),
        None if long_side is None else whole_number("long_side", long_side, 1, 2**40),
        None if region is None else Region(*_numbers("region", region, float, 4)),
        whole_number("max_pixels", max_pixels, 1, 2**40),
        whole_number("quality", quality, 1, 100),
        **_checked(options),
    )


def _checked(options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {**options}
    for name in FLAGS:
        if not isinstance(found.get(name, False), bool):
            raise UserError(f"{name}: expected True or False, got {found[name]!r}")
    if found.get("fit") not in (None, *FITS):
        raise UserError(f"fit: expected one of {', '.join(FITS)}, got {found['fit']!r}")
    if found.get("dpi") is not None:
        found["dpi"] = _number("dpi", found["dpi"])
        if not 1 <= found["dpi"] <= 65535:
            raise UserError(f"dpi: expected a number from 1 to 65535, got {found['dpi']:g}")
    if "max_input_pixels" in found:
        limit = found["max_input_pixels"]
        found["max_input_pixels"] = whole_number("max_input_pixels", limit, 1, 2**40)
    return found


def _scale(scale: Any) -> Any:
    """Get the factors of rows and columns; a single number is for both, None stays None."""
    if scale is None or np.ndim(scale):
        return _numbers("scale", scale, float, 2)
    return (_number("scale", scale),) * 2


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{name}: expected a number, got {value!r}")
    return number


def _numbers(name: str, values: Any, convert: Callable[[Any], Any], count: int) -> Any:
    """Convert ``count`` numbers to a tuple; None stays None."""
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
    """Convert a whole number, such as one of NumPy, to an int.

    Raises:
        UserError: If it is not a whole number from ``low`` to ``high``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if not low <= number <= high:
        raise UserError(f"{name}: expected a whole number from {low} to {high}, got {value!r}")
    return number
