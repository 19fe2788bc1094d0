"""What an address of the IIIF Image API 3.0 asks for (https://iiif.io/api/image/3.0/).

An image is ``factor`` times as large as its photograph. All numbers are read as fractions, so that
tiles which meet in the image meet in the output as well.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any, NamedTuple

CONTEXT = "http://iiif.io/api/image/3/context.json"
PROFILE = "http://iiif.io/api/image/3/level2.json"
TILE = 512
FORMATS = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
QUALITIES = ("default", "color", "gray", "bitonal")
FEATURES = (
    "mirroring",
    "sizeUpscaling",
    "canonicalLinkHeader",
    "profileLinkHeader",
)

Size = tuple[int, int]
_NUMBER = r"\d{1,12}(?:\.\d{1,12})?"


class RequestError(ValueError):
    """An address that asks for something invalid, or for something that is not offered.

    Attributes:
        status: The status of the answer.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Region(NamedTuple):
    """A part of an image, in its pixels."""

    left: Fraction
    top: Fraction
    width: Fraction
    height: Fraction


class Rotation(NamedTuple):
    """A mirroring left to right, and after it quarter turns clockwise."""

    mirrored: bool
    turns: int


def parse_region(text: str, image: Size) -> Region:
    """Parse a region of an image of (height, width); what lies outside the image is cut off.

    Raises:
        RequestError: If it is malformed, or nothing of it is in the image.
    """
    height, width = map(Fraction, image)
    side = min(height, width)
    if text == "full":
        return Region(Fraction(0), Fraction(0), width, height)
    if text == "square":
        left, top = (Fraction((full - side) // 2) for full in (width, height))
        return Region(left, top, side, side)
    parts = _numbers(text.removeprefix("pct:"), 4, whole=not text.startswith("pct:"))
    if parts is None:
        raise RequestError(f"region {text[:60]!r}: expected full, square, x,y,w,h or pct:x,y,w,h")
    if text.startswith("pct:"):
        sides = (width, height, width, height)
        shares = [part * side / 100 for part, side in zip(parts, sides, strict=True)]
        # In whole pixels, as the canonical address has no others; at least one.
        parts = [Fraction(_rounded(share)) for share in shares]
        parts[2:] = [
            max(part, Fraction(1)) if share else part
            for part, share in zip(parts[2:], shares[2:], strict=True)
        ]
    left, top, across, down = parts
    across, down = min(across, width - left), min(down, height - top)
    if min(across, down) <= 0:
        raise RequestError(f"region {text[:60]!r}: nothing of it is in the image")
    return Region(left, top, across, down)


def parse_size(text: str, region: Region, image: Size, max_area: int) -> Size:
    """Parse the size of an output: (height, width).

    Raises:
        RequestError: If it is malformed, empty, larger than the region without a ``^``, or larger
            than ``max_area`` pixels.
    """
    enlarge, wanted = text.startswith("^"), text.removeprefix("^")
    most = math.sqrt(Fraction(max_area) / (region.width * region.height))
    if wanted == "max":
        factor = most if enlarge else min(1.0, most)
        down, across = (
            max(1, math.floor(float(side) * factor)) for side in (region.height, region.width)
        )
        return down, across
    if wanted.startswith("!"):
        return _confined(wanted, region, most if enlarge else min(1.0, most))
    size = _asked(wanted, region)
    if size is None:
        raise RequestError(
            f"size {text[:60]!r}: expected max, w, or ,h or w,h or !w,h or pct:n, or one with ^"
        )
    if min(size) < 1:
        raise RequestError(f"size {text[:60]!r}: less than one pixel")
    larger = size[0] > math.ceil(region.height) or size[1] > math.ceil(region.width)
    if larger and not enlarge:
        raise RequestError(f"size {text[:60]!r}: larger than the region; with ^ that is allowed")
    if size[0] * size[1] > max_area:
        raise RequestError(f"size {text[:60]!r}: more than {max_area} pixels (maxArea)")
    return size


def _confined(text: str, region: Region, most: float) -> Size:
    """Parse a size of the form ``!w,h``: as large as fits into that, with a factor up to ``most``.

    Raises:
        RequestError: If it is malformed.
    """
    numbers = _numbers(text[1:], 2, whole=True)
    if numbers is None or min(numbers) < 1:
        raise RequestError(f"size {text[:60]!r}: expected !w,h")
    factor = min(numbers[0] / region.width, numbers[1] / region.height)
    if factor > most:
        down, across = (
            max(1, math.floor(float(side) * most)) for side in (region.height, region.width)
        )
    else:
        down, across = (max(1, _rounded(side * factor)) for side in (region.height, region.width))
    return down, across


def _asked(text: str, region: Region) -> Size | None:
    """Parse a size without ``^``, other than ``max`` and ``!w,h``; None if it is malformed."""
    height, width = region.height, region.width
    if text.startswith("pct:"):
        share = _numbers(text[4:], 1)
        if share is None:
            return None
        return _rounded(height * share[0] / 100), _rounded(width * share[0] / 100)
    match = re.fullmatch(r"(\d{0,9}),(\d{0,9})", text, re.ASCII)
    if match is None:
        return None
    across, down = match.groups()
    if across and down:
        return int(down), int(across)
    if across:
        return _rounded(height * int(across) / width), int(across)
    return (int(down), _rounded(width * int(down) / height)) if down else None


def parse_rotation(text: str) -> Rotation:
    """Parse a rotation.

    Raises:
        RequestError: If it is malformed, or not a multiple of 90 degrees.
    """
    mirrored, text = text.startswith("!"), text.removeprefix("!")
    numbers = _numbers(text, 1)
    if numbers is None or numbers[0] > 360:
        raise RequestError(f"rotation {text[:60]!r}: expected a number from 0 to 360, or !n")
    turns = numbers[0] / 90
    if turns.denominator != 1:
        raise RequestError(f"rotation {text[:60]!r}: only 0, 90, 180 and 270 are offered", 501)
    return Rotation(mirrored, int(turns) % 4)


def parse_quality(text: str) -> tuple[str, str]:
    """Parse the quality and the format, such as ``default.jpg``.

    Raises:
        RequestError: If one of them is not offered.
    """
    quality, dot, kind = text.rpartition(".")
    if not dot or quality not in QUALITIES:
        raise RequestError(f"{text[:60]!r}: expected one of {', '.join(QUALITIES)}, and a format")
    if kind not in FORMATS:
        raise RequestError(f"format {kind[:60]!r}: expected one of {', '.join(FORMATS)}")
    return quality, kind


def canonical(region: Region, size: Size, rotation: Rotation, image: Size, max_area: int) -> str:
    """Make the canonical form of region, size and rotation."""
    whole = region == Region(Fraction(0), Fraction(0), Fraction(image[1]), Fraction(image[0]))
    part = "full" if whole else ",".join(map(str, region))
    enlarged = size[0] > math.ceil(region.height) or size[1] > math.ceil(region.width)
    most = parse_size("^max" if enlarged else "max", region, image, max_area)
    asked = "max" if size == most else f"{size[1]},{size[0]}"
    turn = f"{'!' if rotation.mirrored else ''}{rotation.turns * 90}"
    return f"{part}/{'^' if enlarged else ''}{asked}/{turn}"


def information(address: str, image: Size, max_area: int) -> dict[str, Any]:
    """Describe an image of (height, width): the content of its ``info.json``."""
    height, width = image
    levels = [1]
    while max(height, width) > TILE * levels[-1]:
        levels.append(levels[-1] * 2)
    # Only these: viewers take the sizes for the levels of the tiles.
    sizes = [(-(-height // level), -(-width // level)) for level in reversed(levels)]
    return {
        "@context": CONTEXT,
        "id": address,
        "type": "ImageService3",
        "protocol": "http://iiif.io/api/image",
        "profile": "level2",
        "width": width,
        "height": height,
        "maxArea": max_area,
        "sizes": [
            {"width": across, "height": down} for down, across in sizes if down * across <= max_area
        ],
        "tiles": [{"width": TILE, "height": TILE, "scaleFactors": levels}],
        "preferredFormats": ["jpg", "png"],
        "extraFormats": ["webp"],
        "extraQualities": ["color", "gray", "bitonal"],
        "extraFeatures": list(FEATURES),
    }


def _numbers(text: str, count: int, whole: bool = False) -> list[Fraction] | None:
    """Parse numbers from 0, with commas between them; None if they are something else."""
    each = r"\d{1,12}" if whole else _NUMBER
    if re.fullmatch(",".join([each] * count), text, re.ASCII) is None:
        return None
    return [Fraction(part) for part in text.split(",")]


def _rounded(number: Fraction) -> int:
    return math.floor(number + Fraction(1, 2))
