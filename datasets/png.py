"""Read and write the chunks of PNG files, and decode those whose pixels Pillow would change."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Container, Iterator

import numpy as np

PNG = b"\x89PNG\r\n\x1a\n"  # the first bytes of a file
GRAY, GRAY_ALPHA = 0, 4  # kinds of pixels


def depth_and_kind(data: bytes) -> tuple[int, int]:
    """Return the bits per channel and the kind of pixels; zeros if the file is not a PNG."""
    if len(data) < 26 or not data.startswith(PNG):
        return 0, 0
    depth, kind = struct.unpack_from(">BB", data, 24)
    return depth, kind


def decoded_png(data: bytes) -> np.ndarray:
    """Return the pixels as they are stored."""
    import imagecodecs

    return np.asarray(imagecodecs.png_decode(data))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Make a PNG chunk."""
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png_chunks(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the offset, kind and content of each chunk; of pixels, for their size, no content."""
    at = len(PNG)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield at, kind, b"" if kind == b"IDAT" else data[at + 8 : at + 8 + size]
        at += 12 + size


def chunks_before_pixels(data: bytes, kinds: Container[bytes]) -> dict[bytes, bytes]:
    """Map each of the kinds found before the pixels to the content of its first chunk."""
    found: dict[bytes, bytes] = {}
    for _, kind, content in png_chunks(data):
        if kind == b"IDAT":
            break
        if kind in kinds:
            found.setdefault(kind, content)
    return found
