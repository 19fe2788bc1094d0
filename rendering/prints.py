"""Fit pictures to paper, and put white borders around them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from errors import UserError
from rendering.grid import LARGEST, Border, Fit, Fitted, Region, fitted, keeps_shape
from rendering.picture import WHITES

PER_INCH = {"cm": 2.54, "mm": 25.4, "in": 1.0}
ISO = {  # millimetres
    "A0": (841, 1189),
    "A1": (594, 841),
    "A2": (420, 594),
    "A3": (297, 420),
    "A4": (210, 297),
    "A5": (148, 210),
    "A6": (105, 148),
}
BAND = 2**20  # border pixels made at a time


@dataclass(frozen=True)
class Paper:
    """The paper that a picture is printed on.

    Attributes:
        width, height: Sides in units.
        unit: Unit of the sides: cm, mm or in.
        turns: Whether the paper is turned upright or wide to match the picture.
    """

    width: float
    height: float
    unit: str
    turns: bool = False

    def __str__(self) -> str:
        return f"{self.width:g}x{self.height:g}{self.unit}"

    @property
    def turned(self) -> Paper:
        return replace(self, width=self.height, height=self.width)

    def under(self, shape: tuple[float, float]) -> Paper:
        """Turn the paper, if it may be turned, to match a picture of (h, w) pixels."""
        across = (shape[0] - shape[1]) * (self.height - self.width) < 0
        return self.turned if self.turns and across else self

    def pixels(self, dpi: float) -> tuple[int, int]:
        """Compute the size (H, W) in pixels at ``dpi`` pixels per inch.

        Raises:
            UserError: If a side has less than one pixel, or more than any output may have.
        """
        inches = [side / PER_INCH[self.unit] for side in (self.height, self.width)]
        if not all(1 <= side * dpi + 0.5 <= LARGEST for side in inches):
            raise UserError(
                f"a print of {self} at {dpi:g} dpi: its sides are not from 1 to {LARGEST} pixels"
            )
        rows, cols = (round(side * dpi) for side in inches)
        return max(rows, 1), max(cols, 1)

    def hint(self, shape: tuple[float, float]) -> str:
        """Make a hint to turn the paper if the picture lies across it; else an empty text."""
        lie, laid = math.log(shape[0] / shape[1]), math.log(self.height / self.width)
        if abs(lie + laid) >= abs(lie - laid) / 2:  # both are 0 for squares
            return ""
        lies = "upright" if shape[0] > shape[1] else "wide"
        return f"the picture is {lies} and the paper is not: {self.turned} would fit it better"


def parse_paper(text: str) -> Paper:
    """Parse a size such as ``60x40cm``, ``mm`` or ``in``, or A0 to A6, turned to match the picture.

    The size is width by height.

    Raises:
        ValueError: If it is neither.
    """
    if text.upper() in ISO:
        return Paper(*ISO[text.upper()], "mm", turns=True)
    number = r"(\d{1,9}(?:\.\d{1,9})?)"
    match = re.fullmatch(rf"{number} ?[x\u00d7] ?{number} ?(cm|mm|in)", text.strip().lower())
    if match is None or not all(float(side) > 0 for side in match.groups()[:2]):
        raise ValueError(
            "expected width x height and a unit, such as 60x40cm, 24x16in or 105x148.5mm, "
            f"or A0 to A6: got {text[:40]!r}"
        )
    return Paper(float(match[1]), float(match[2]), match[3])


def printed(part: Region, paper: Paper, dpi: float, fit: Fit | None) -> Fitted:
    """Fit a part of the input to a paper.

    Raises:
        UserError: If their shapes differ and ``fit`` does not say what to do.
    """
    shape = (part.height, part.width)
    paper = paper.under(shape)
    counts, hint = paper.pixels(dpi), paper.hint(shape)
    if fit is None and not keeps_shape(shape, counts):
        factors = [count / side for count, side in zip(counts, shape, strict=True)]
        lost = 100 * (1 - min(factors) / max(factors))
        raise UserError(
            f"{part.width:g} by {part.height:g} pixels do not have the shape of {paper}: choose "
            f"--fit crop (cuts off {lost:.2g}%), --fit pad (white borders) or --fit stretch"
            + (f"; {hint}" if hint else "")
        )
    result = fitted(part, counts, fit)
    return result._replace(notes=(*result.notes, *([hint] if hint else [])))


def framed(
    bands: Iterator[np.ndarray], border: Border, width: int, opaque: bool
) -> Iterator[np.ndarray]:
    """Add a white border to bands of rows.

    Args:
        bands: At least one band (r, w, C), all of one dtype; with alpha if C is 2 or 4.
        width: Width of the output, with its border.
        opaque: Whether the border of an output with alpha is opaque; else it is fully transparent.
    """
    top = border.top
    for band in bands:
        white = np.full(band.shape[2], WHITES[band.dtype], band.dtype)
        if band.shape[2] in (2, 4) and not opaque:
            white[-1] = 0
        yield from _blank(top, width, white)
        top = 0
        if border.left or border.right:
            wide = np.empty((len(band), width, len(white)), band.dtype)
            wide[:] = white
            wide[:, border.left : width - border.right] = band
            band = wide
        yield band
    yield from _blank(border.bottom, width, white)


def _blank(rows: int, width: int, colour: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, BAND // width)
    for first in range(0, rows, step):
        yield np.broadcast_to(colour, (min(step, rows - first), width, len(colour))).copy()
