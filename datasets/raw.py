"""Distinguish TIFFs from raw files of cameras, whose first page is a small preview."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tifffile

DNG_VERSION = 50706  # a tag
SENSOR = (32803, 34892)  # photometric codes: colour filter array, linear raw
LOOKED_AT = 8  # number of pages checked, and of pages within each
RAW = "the raw of a camera; develop it first, and save that as TIFF, PNG or JPEG"


def refuse_raw(file: tifffile.TiffFile, data: bytes) -> None:
    """Raise a `ValueError` if a TIFF holds raw sensor data of a camera: DNG, NEF, CR2, ARW."""
    if data[8:10] == b"CR" or any(_is_raw(page) for page in _pages(file)):
        raise ValueError(RAW)


def _is_raw(page: tifffile.TiffPage) -> bool:
    return DNG_VERSION in page.tags or page.photometric in SENSOR


def _pages(file: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    """Yield the first pages of a file, and the first pages within each."""
    import tifffile

    for page in islice(file.pages, LOOKED_AT):
        if isinstance(page, tifffile.TiffPage):
            yield page
            for inner in islice(page.pages or (), LOOKED_AT):
                if isinstance(inner, tifffile.TiffPage):
                    yield inner
