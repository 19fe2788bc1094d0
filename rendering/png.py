"""Read and write the chunks of a PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from datasets.png import PNG


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
