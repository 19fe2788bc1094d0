"""Encode metadata as the parts of files that hold it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from rendering.metadata.parts import Metadata, Text
from rendering.metadata.reading import EXTENSION_MARK, PHOTOSHOP_MARK, XMP_MARK
from rendering.metadata.xmp import digest

SEGMENT = 65533  # bytes that a segment of a JPEG holds
JPEG_LIMITS = (("EXIF", SEGMENT - 6), ("XMP", SEGMENT - len(XMP_MARK)), ("texts", SEGMENT))
EXTENSION_PART = 65400  # bytes of an extension of XMP in a segment
LONG_TEXT = 1024  # texts with more bytes than this are compressed


def jpeg_options(metadata: Metadata) -> dict[str, Any]:
    """Make the options with which Pillow saves a JPEG."""
    extra = _segment(0xE1, XMP_MARK + metadata.xmp) if metadata.xmp else b""
    rest = metadata.extension
    for at in range(0, len(rest), EXTENSION_PART):
        head = EXTENSION_MARK + digest(rest).encode() + struct.pack(">II", len(rest), at)
        extra += _segment(0xE1, head + rest[at : at + EXTENSION_PART])
    room = SEGMENT - len(PHOTOSHOP_MARK)
    block = metadata.photoshop
    for at in range(0, len(block), room):
        extra += _segment(0xED, PHOTOSHOP_MARK + block[at : at + room])
    # Put comments last: most programs show only the last text.
    for keyword, text, *_ in sorted(metadata.texts, key=lambda text: text.keyword == "Comment"):
        extra += _segment(0xFE, (text if keyword == "Comment" else f"{keyword}: {text}").encode())
    exif = {"exif": b"Exif\0\0" + metadata.exif} if metadata.exif else {}
    return {"extra": extra, **density_options(metadata, 65535), **exif}


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def webp_options(metadata: Metadata) -> dict[str, Any]:
    """Make the options with which Pillow saves a WebP."""
    return {"exif": metadata.exif or b"", "xmp": metadata.xmp or b""}


def density_options(metadata: Metadata, largest: int = 2**20) -> dict[str, Any]:
    """Make the options with which Pillow saves formats that hold only a density."""
    dpi = metadata.dpi
    return {"dpi": dpi} if dpi and min(dpi) > 0.5 and max(dpi) <= largest else {}


def png_parts(metadata: Metadata) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and content of the chunks before the pixels of a PNG."""
    if metadata.dpi:
        x, y = (min(round(each / 0.0254), 2**31 - 1) for each in metadata.dpi)
        yield b"pHYs", struct.pack(">IIB", x, y, 1)
    if metadata.exif:
        yield b"eXIf", metadata.exif
    if metadata.xmp:
        yield b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp
    if block := metadata.photoshop:
        # Hexadecimal digits of Photoshop's block, as written by ImageMagick and exiv2, and read by
        # ExifTool.
        digits = "\n".join(block.hex()[at : at + 72] for at in range(0, 2 * len(block), 72))
        profile = f"\niptc\n{len(block):8}\n{digits}\n"
        yield b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(profile.encode())
    for text in metadata.texts:
        yield _png_text(text)


def _png_text(text: Text) -> tuple[bytes, bytes]:
    keyword = text.keyword.encode("latin-1", "replace")[:79]
    try:
        plain = None if text.language or text.translated else text.text.encode("latin-1")
    except UnicodeEncodeError:
        plain = None
    raw = text.text.encode() if plain is None else plain
    long = len(raw) > LONG_TEXT
    packed = zlib.compress(raw) if long else raw
    if plain is None:
        names = text.language.encode("latin-1", "replace") + b"\0" + text.translated.encode()
        return b"iTXt", keyword + bytes([0, long, 0]) + names + b"\0" + packed
    return (b"zTXt", keyword + b"\0\0" + packed) if long else (b"tEXt", keyword + b"\0" + raw)
