"""Write pictures row by row, so that an output may be larger than memory.

`FORMATS` says what each file format can hold.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from datasets.png import PNG, png_chunk
from errors import UserError
from rendering.metadata.embedding import (
    JPEG_LIMITS,
    density_options,
    jpeg_options,
    png_parts,
    webp_options,
)
from rendering.metadata.parts import Metadata, Room
from rendering.tiff import write_tiff

LEVEL = 3  # of zlib: files a fifth larger than at its best, in a tenth of the time
UINT8, UINT16, FLOAT32 = (np.dtype(name) for name in ("uint8", "uint16", "float32"))


@dataclass(frozen=True)
class Layout:
    """The size, pixel type and metadata of an output.

    Attributes:
        height, width: Sides in pixels.
        channels: Number of channels, 1 to 4, as in `Picture`.
        dtype: Data type of the pixels: uint8, uint16 or float32.
        icc: Colour profile.
        quality: Quality of lossy formats, 1 to 100.
        lossless: Whether formats that have both kinds of compression use the lossless one.
        cicp: PNG chunks that describe the colours.
        metadata: Metadata of the file, without what its format cannot hold.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype
    icc: bytes | None = None
    quality: int = 95
    lossless: bool = False
    cicp: bytes | None = None
    metadata: Metadata | None = None


Write = Callable[[BinaryIO, Layout, Iterator[np.ndarray]], None]


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: Name that Pillow uses.
        endings: Endings of its files, the usual one first.
        dtypes: Data types that it can hold.
        channels: Numbers of channels that it can hold.
        max_side: Largest height and width.
        icc: Whether it can hold a colour profile.
        room: What it can hold besides pixels and profile.
        write: Function that writes bands of rows.
    """

    name: str
    endings: tuple[str, ...]
    dtypes: tuple[np.dtype, ...]
    channels: tuple[int, ...]
    max_side: int
    icc: bool
    room: Room
    write: Write


def _write_png(file: BinaryIO, layout: Layout, bands: Iterator[np.ndarray]) -> None:
    """Write a PNG, third edition, with rows filtered by "Up" and deflated as they come."""

    def chunk(kind: bytes, data: bytes) -> None:
        file.write(png_chunk(kind, data))

    depth = layout.dtype.itemsize * 8
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[layout.channels]
    file.write(PNG)
    chunk(b"IHDR", struct.pack(">IIBBBBB", layout.width, layout.height, depth, colour, 0, 0, 0))
    file.write(layout.cicp or b"")
    if layout.icc:
        chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(layout.icc))
    if layout.metadata is not None:
        for kind, data in png_parts(layout.metadata):
            chunk(kind, data)
    deflate = zlib.compressobj(LEVEL)
    above = np.zeros((1, layout.width * layout.channels * layout.dtype.itemsize), np.uint8)
    for band in bands:
        rows = band.astype(layout.dtype.newbyteorder(">"), copy=False)
        raw = rows.reshape(len(rows), -1).view(np.uint8)
        filtered = np.full((len(raw), raw.shape[1] + 1), 2, np.uint8)
        np.subtract(raw, np.concatenate([above, raw[:-1]]), out=filtered[:, 1:])
        above = raw[-1:]
        if data := deflate.compress(filtered.data):
            chunk(b"IDAT", data)
    chunk(b"IDAT", deflate.flush())
    chunk(b"IEND", b"")


def _write_by_pillow(name: str) -> Write:
    def write(file: BinaryIO, layout: Layout, bands: Iterator[np.ndarray]) -> None:
        pixels = np.concatenate(list(bands))
        image = Image.fromarray(pixels.squeeze(2) if layout.channels == 1 else pixels)
        encoded = io.BytesIO()  # Pillow reports a full disk only as "encoder error -2"
        image.save(encoded, format=name, **_options(name, layout))
        file.write(encoded.getbuffer())

    return write


def _options(name: str, layout: Layout) -> dict[str, Any]:
    """Make the options with which Pillow saves a format."""
    metadata = layout.metadata or Metadata()
    options: dict[str, Any] = {"icc_profile": layout.icc} if layout.icc else {}
    if name == "JPEG":
        options |= {"quality": layout.quality, **jpeg_options(metadata)}
        if layout.quality > 90:
            options["subsampling"] = 0
    elif name == "WEBP" and layout.lossless:
        options |= {"lossless": True, "exact": True, **webp_options(metadata)}
    elif name == "WEBP":
        options |= {"quality": layout.quality, **webp_options(metadata)}
    elif name == "BMP":
        options |= density_options(metadata)
    return options


ANY_SIDE = 2**31 - 1
ALL = (1, 2, 3, 4)
DEPTHS = (UINT8, UINT16, FLOAT32)
PARTS = ("EXIF", "XMP", "IPTC", "density")
ROOMS = {
    "PNG": Room("PNG", (*PARTS, "texts")),
    "TIFF": Room("TIFF", PARTS),
    "JPEG": Room("JPEG", (*PARTS, "texts"), JPEG_LIMITS),
    "WEBP": Room("WEBP", ("EXIF", "XMP")),
    "BMP": Room("BMP", ("density",)),
    "PPM": Room("PPM"),
}


def _by_pillow(
    name: str, endings: tuple[str, ...], channels: tuple[int, ...], max_side: int, icc: bool
) -> Format:
    write = _write_by_pillow(name)
    return Format(name, endings, (UINT8,), channels, max_side, icc, ROOMS[name], write)


FORMATS = [
    Format("PNG", (".png",), DEPTHS[:2], ALL, ANY_SIDE, True, ROOMS["PNG"], _write_png),
    Format("TIFF", (".tif", ".tiff"), DEPTHS, ALL, ANY_SIDE, True, ROOMS["TIFF"], write_tiff),
    _by_pillow("JPEG", (".jpg", ".jpeg"), (1, 3), 65500, True),
    _by_pillow("WEBP", (".webp",), (3, 4), 16383, True),
    _by_pillow("BMP", (".bmp",), (1, 3), 32767, False),
    _by_pillow("PPM", (".ppm", ".pgm"), (1, 3), ANY_SIDE, False),
]


def format_of(path: str | Path) -> Format:
    """Find the format of a file by its ending.

    Raises:
        UserError: If no format has that ending, or the path is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file")
    ending = path.suffix.lower()
    for format in FORMATS:
        if ending in format.endings:
            return format
    known = ", ".join(ending for format in FORMATS for ending in format.endings)
    raise UserError(f"{path}: cannot tell the image format from the ending; use one of {known}")
