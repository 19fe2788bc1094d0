"""Read the size and depth of an image from its header, without decoding its pixels."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, ImageFile

from datasets.image_file import FORMATS, readable
from datasets.opening import open_image
from datasets.patience import patiently
from datasets.tiff import ORIENTATION, ORIENTATIONS, TIFF, first_page, open_tiff
from datasets.tiff import page_orientation as tiff_orientation

# Chunks of a PNG that may hold its orientation; ExifTool writes these after the pixels.
LATE_MARKS = (b"eXIf", b"Raw profile type ", b"XML:com.adobe.xmp")


class Header(NamedTuple):
    """The size of an upright image, and its kind; ``bits`` are those of one level."""

    height: int
    width: int
    gray: bool
    bits: int


def read_header(path: str | Path) -> Header:
    """Read the header of an image file.

    Raises:
        UnreadableError, UserError: As in `datasets.image_file.read_image`.
    """
    with readable(path):
        return patiently(lambda: _header(Path(path)))


def _header(path: Path) -> Header:
    if path.exists() and not path.is_file():  # opening a pipe may block forever
        raise ValueError("it is no file")
    with path.open("rb") as file:
        start = file.read(26)
        file.seek(0)
        if start.startswith(TIFF):
            return _tiff_header(file)
        with open_image(file, FORMATS) as image:
            gray = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
            bits, exif = 8, None
            if image.format == "PNG":
                bits, colour = struct.unpack_from(">BB", start, 24)
                gray = colour in (0, 4)  # without and with alpha
                if not _late(file):
                    exif = Image.Image.getexif(image)  # the PNG's own would decode it
            elif image.format == "PPM" and _maxval(image) > 255:
                bits = 16
            orientation = (image.getexif() if exif is None else exif).get(ORIENTATION, 1)
            width, height = _upright(image.size, orientation)
            return Header(height, width, gray, bits)


def _tiff_header(file: BinaryIO) -> Header:
    with open_tiff(file) as tiff:
        page = first_page(tiff)
        size = _upright((page.imagewidth, page.imagelength), tiff_orientation(page))
        gray = page.photometric in (0, 1)  # white is zero, black is zero
        return Header(size[1], size[0], gray, page.bitspersample)


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    swapped, _ = ORIENTATIONS.get(orientation, (False, ()))
    return size[::-1] if swapped else size


def _late(file: BinaryIO) -> bool:
    """Tell whether a PNG may have its orientation after the pixels."""
    place = file.tell()
    file.seek(max(0, file.seek(0, os.SEEK_END) - 2**16))
    end = file.read()
    file.seek(place)
    return any(mark in end for mark in LATE_MARKS)


def _maxval(image: Image.Image) -> int:
    """Return the level of white in a PPM, which Pillow keeps with the raw mode."""
    if image.mode == "I":
        return 65535
    assert isinstance(image, ImageFile.ImageFile)
    args = image.tile[0][3]
    return int(args[-1]) if isinstance(args, tuple) and len(args) > 1 else 255
