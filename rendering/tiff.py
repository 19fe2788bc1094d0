"""Write TIFF files row by row, with the EXIF directories laid out as in EXIF itself.

This follows TIFF revision 6.0, its supplements (deflate, floating-point predictor), and BigTIFF.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from rendering.metadata import exif
from rendering.metadata.photoshop import block_of
from rendering.metadata.structure import (
    LONG,
    LONG8,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Entry,
    Order,
    Structure,
    copied,
)

if TYPE_CHECKING:
    from rendering.writing import Layout

LEVEL = 3  # of libdeflate
TILE = 256  # rows and columns of a tile
BIG = 2**31  # a file with this many bytes of pixels or more is a BigTIFF
# Tags that are written here, not copied.
OWN = exif.STORAGE | exif.DENSITY | {256, 257, exif.XMP, exif.IPTC, exif.PHOTOSHOP, exif.ICC}
DEFLATE, HORIZONTAL, FLOATING, UNASSOCIATED, FLOAT = 8, 2, 3, 2, 3


def write_tiff(file: BinaryIO, layout: Layout, bands: Iterator[np.ndarray]) -> None:
    """Write a TIFF of deflated tiles; a BigTIFF from 2 GiB on.

    The EXIF data comes first, since a maker note may contain offsets from the beginning of the
    file; then come the tiles, as they are made, and then the directory.
    """
    shape = (layout.height, layout.width, layout.channels)
    big = math.prod(shape) * layout.dtype.itemsize >= BIG
    start, entries = _beginning(layout, big)
    file.write(bytes(start.data))
    at = len(start.data)
    places, sizes = [], []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for tiles in _tiles(bands):
            encoded = pool.map(partial(_encoded, start.order), tiles)
            for data in encoded:
                file.write(data)
                places.append(at)
                sizes.append(len(data))
                at += len(data)
    file.write(bytes(at % 2))
    end = _Appended(start, at + at % 2)
    entries |= _pixels(end, layout, places, sizes)
    place = end.at + len(end.data) + len(end.data) % 2
    file.write(bytes(end.data).ljust(place - end.at, b"\0") + start.directory(entries))
    file.seek(0)
    start.point(place)
    file.write(bytes(start.data[: 16 if big else 8]))
    file.seek(0, os.SEEK_END)


class _Appended:
    """The values that are stored behind the tiles."""

    def __init__(self, start: Structure, at: int) -> None:
        self.start, self.at = start, at
        self.data = bytearray()

    def entry(self, kind: int, raw: bytes) -> Entry:
        if len(raw) <= (8 if self.start.big else 4):
            return self.start.entry(kind, raw)
        entry = self.start.entry(kind, raw, self.at + len(self.data))
        self.data += raw + bytes(len(raw) % 2)
        return entry

    def numbers(self, kind: int, *numbers: int) -> Entry:
        return self.entry(kind, self.start.packed(kind, *numbers))


def _beginning(layout: Layout, big: bool) -> tuple[Structure, dict[int, Entry]]:
    """Make the header with the EXIF directories, and get the entries that come from them."""
    metadata = layout.metadata
    if metadata is None or metadata.exif is None:
        return Structure.empty("<", big), {}
    start, entries, _ = copied(
        Structure(metadata.exif), without=OWN, big=big, farthest=len(metadata.exif)
    )
    return start, entries


def _pixels(
    end: _Appended, layout: Layout, places: list[int], sizes: list[int]
) -> dict[int, Entry]:
    """Make the entries on how pixels are stored, and those of embedded formats such as XMP."""
    wide = LONG8 if end.start.big else LONG
    floats = layout.dtype.kind == "f"
    each = layout.channels
    metadata = layout.metadata
    density = metadata.dpi if metadata else None
    entries = {
        256: end.numbers(LONG, layout.width),
        257: end.numbers(LONG, layout.height),
        258: end.numbers(SHORT, *[layout.dtype.itemsize * 8] * each),
        259: end.numbers(SHORT, DEFLATE),
        262: end.numbers(SHORT, 2 if each >= 3 else 1),
        277: end.numbers(SHORT, each),
        284: end.numbers(SHORT, 1),
        317: end.numbers(SHORT, FLOATING if floats else HORIZONTAL),
        322: end.numbers(LONG, TILE),
        323: end.numbers(LONG, TILE),
        324: end.numbers(wide, *places),
        325: end.numbers(wide, *sizes),
        339: end.numbers(SHORT, *[FLOAT if floats else 1] * each),
    }
    for tag, number in zip((282, 283), density or (1, 1), strict=True):
        entries[tag] = end.entry(RATIONAL, end.start.fraction(number))
    entries[296] = end.numbers(SHORT, 2 if density else 1)
    if each in (2, 4):
        entries[338] = end.numbers(SHORT, UNASSOCIATED)
    parts = {exif.ICC: layout.icc}
    if metadata:
        parts |= {exif.XMP: metadata.xmp, exif.IPTC: metadata.iptc}
        parts[exif.PHOTOSHOP] = block_of(dict(metadata.resources))
    for tag, raw in parts.items():
        if raw:
            kind = UNDEFINED if tag in (exif.ICC, exif.IPTC) else 1
            entries[tag] = end.entry(kind, raw)
    return entries


def _tiles(bands: Iterator[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Cut the pixels into squares of `TILE`, one row of squares at a time, padded with zeros."""
    for strip in _strips(bands):
        rows, width, channels = strip.shape
        padded = np.zeros((TILE, -(-width // TILE) * TILE, channels), strip.dtype)
        padded[:rows, :width] = strip
        yield np.split(padded, padded.shape[1] // TILE, axis=1)


def _strips(bands: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Regroup the rows, `TILE` at a time."""
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


def _encoded(order: Order, tile: np.ndarray) -> bytes:
    """Deflate a tile (`TILE`, `TILE`, C) after subtracting from each pixel the one before it."""
    import imagecodecs

    if tile.dtype.kind == "f":
        differences = imagecodecs.floatpred_encode(tile, axis=-2)
    else:
        differences = tile.copy()
        differences[:, 1:] -= tile[:, :-1]
        differences = differences.astype(tile.dtype.newbyteorder(order), copy=False)
    return bytes(imagecodecs.deflate_encode(differences.tobytes(), level=LEVEL))
