"""Writing pictures row by row, so that an output may be larger than the memory.

`FORMATS` says what each file format can hold.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from configs.spec import UserError
from rendering.colour import png_chunk

UINT8, UINT16, FLOAT32 = (np.dtype(name) for name in ("uint8", "uint16", "float32"))
LEVEL = 3  # of zlib: a fifth larger than its best, in a tenth of the time
TILE = 256  # rows and columns of a TIFF tile
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Layout:
    """What the pixels of an output are.

    Attributes:
        height, width: In pixels.
        channels: 1 to 4, as of `Picture`.
        dtype: uint8, uint16 or float32.
        icc: Colour profile.
        quality: Of lossy formats, 1 to 100.
        cicp: Chunks of a PNG on its colours.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype
    icc: bytes | None = None
    quality: int = 95
    cicp: bytes | None = None


Write = Callable[[BinaryIO, Layout, Iterator[np.ndarray]], None]


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: Pillow's.
        endings: Of its files, the usual one first.
        dtypes: That it holds, in order of preference where a picture's own is not among them.
        channels: That it holds.
        max_side: Largest height and width.
        icc: Whether it holds a colour profile.
        write: Writes bands of rows.
    """

    name: str
    endings: tuple[str, ...]
    dtypes: tuple[np.dtype, ...]
    channels: tuple[int, ...]
    max_side: int
    icc: bool
    write: Write


def _write_png(file: BinaryIO, layout: Layout, bands: Iterator[np.ndarray]) -> None:
    """PNG, third edition: rows filtered by "Up" and deflated as they come."""

    def chunk(kind: bytes, data: bytes) -> None:
        file.write(png_chunk(kind, data))

    depth = layout.dtype.itemsize * 8
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[layout.channels]
    file.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">IIBBBBB", layout.width, layout.height, depth, colour, 0, 0, 0))
    file.write(layout.cicp or b"")
    if layout.icc:
        chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(layout.icc))
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


def _write_tiff(file: BinaryIO, layout: Layout, bands: Iterator[np.ndarray]) -> None:
    """TIFF of deflated tiles; BigTIFF from 2 GiB on."""
    import tifffile

    shape = (layout.height, layout.width, layout.channels)
    large = math.prod(shape) * layout.dtype.itemsize >= 2**31
    with tifffile.TiffWriter(file, bigtiff=large) as writer:
        writer.write(
            _tiles(bands),
            shape=shape if layout.channels > 1 else shape[:2],
            dtype=layout.dtype,
            photometric="rgb" if layout.channels >= 3 else "minisblack",
            planarconfig="contig" if layout.channels > 1 else None,
            extrasamples=["unassalpha"] if layout.channels in (2, 4) else None,
            tile=(TILE, TILE),
            compression="zlib",
            compressionargs={"level": LEVEL},
            predictor=True,
            iccprofile=layout.icc,
            metadata=None,
        )


def _tiles(bands: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same pixels in squares of `TILE`, row by row; beyond the edges there are zeros."""
    for strip in _strips(bands):
        rows, width, channels = strip.shape
        padded = np.zeros((TILE, -(-width // TILE) * TILE, channels), strip.dtype)
        padded[:rows, :width] = strip
        for tile in np.split(padded, padded.shape[1] // TILE, axis=1):
            yield np.ascontiguousarray(tile.squeeze(2) if channels == 1 else tile)


def _strips(bands: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same rows, `TILE` at a time."""
    held: list[np.ndarray] = []
    count = 0
    for band in bands:
        held.append(band)
        count += len(band)
        if count >= TILE:
            rows = np.concatenate(held)
            whole = count - count % TILE
            yield from np.split(rows[:whole], whole // TILE)
            held, count = [rows[whole:]], count - whole
    if count:
        yield np.concatenate(held)


def _write_by_pillow(name: str) -> Write:
    def write(file: BinaryIO, layout: Layout, bands: Iterator[np.ndarray]) -> None:
        pixels = np.concatenate(list(bands))
        image = Image.fromarray(pixels.squeeze(2) if layout.channels == 1 else pixels)
        options = {"quality": layout.quality} if name in ("JPEG", "WEBP") else {}
        if name == "JPEG" and layout.quality > 90:
            options["subsampling"] = 0
        if layout.icc:
            options["icc_profile"] = layout.icc  # type: ignore[assignment]
        encoded = io.BytesIO()  # Pillow would say no more of a full disk than "encoder error -2"
        image.save(encoded, format=name, **options)
        file.write(encoded.getbuffer())

    return write


ANY_SIDE = 2**31 - 1
ALL = (1, 2, 3, 4)
FORMATS = [
    Format("PNG", (".png",), (UINT8, UINT16), ALL, ANY_SIDE, True, _write_png),
    Format("TIFF", (".tif", ".tiff"), (UINT8, UINT16, FLOAT32), ALL, ANY_SIDE, True, _write_tiff),
    Format("JPEG", (".jpg", ".jpeg"), (UINT8,), (1, 3), 65500, True, _write_by_pillow("JPEG")),
    Format("WEBP", (".webp",), (UINT8,), (3, 4), 16383, True, _write_by_pillow("WEBP")),
    Format("BMP", (".bmp",), (UINT8,), (1, 3), 32767, False, _write_by_pillow("BMP")),
    Format("PPM", (".ppm", ".pgm"), (UINT8,), (1, 3), ANY_SIDE, False, _write_by_pillow("PPM")),
]


def format_of(path: str | Path) -> Format:
    """The format that a file's ending names.

    Raises:
        UserError: If none does, or the path is a folder.
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
