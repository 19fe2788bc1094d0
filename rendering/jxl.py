"""Read the size and colours of a JPEG XL from its header, as the decoder does not report them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from rendering.colour import Colour, colour_of_codes

BARE = b"\xff\x0a"
JXL = (BARE, b"\0\0\0\x0cJXL \r\n\x87\n")  # the first bytes of a file
HEADER = 4096  # bytes that are examined
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
ALPHA, SPOT, CFA = 0, 2, 5  # kinds of further channels
GRAY, XYB = 1, 2  # colour spaces; 3 is an unknown one
SRGB, CUSTOM = 1, 2  # primaries and white points; as a white point, 1 is D65
P3, P3_BY_D65 = 11, 12
UNKNOWN = Colour(notes=("the colour profile of a JPEG XL is not read here: taken for sRGB",))

# How a number may be coded: bits to read, and an offset to add; two bits choose one of the four.
Choices = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]
SIDE: Choices = ((9, 1), (13, 1), (18, 1), (30, 1))
ENUM: Choices = ((0, 0), (0, 1), (4, 2), (6, 18))
WHOLE_DEPTH: Choices = ((0, 8), (0, 10), (0, 12), (6, 1))
FLOAT_DEPTH: Choices = ((0, 32), (0, 16), (0, 24), (6, 1))
COUNT: Choices = ((0, 0), (0, 1), (4, 2), (12, 1))
SHIFT: Choices = ((0, 0), (0, 3), (0, 4), (3, 1))
LENGTH: Choices = ((0, 0), (4, 0), (5, 16), (10, 48))


class JxlHeader(NamedTuple):
    """The size and colours of the image as stored, before its orientation is applied."""

    height: int
    width: int
    colour: Colour


class _Bits:
    """A reader of bits, the lowest bit of each byte first."""

    def __init__(self, data: bytes) -> None:
        self.number, self.place = int.from_bytes(data, "little"), 0

    def read(self, count: int) -> int:
        value = self.number >> self.place & ((1 << count) - 1)
        self.place += count
        return value

    def flag(self) -> bool:
        return self.read(1) == 1

    def choose(self, choices: Choices) -> int:
        bits, offset = choices[self.read(2)]
        return self.read(bits) + offset


def read_jxl_header(data: bytes) -> JxlHeader:
    """Read the header of the codestream; ISO/IEC 18181-1, Annex D.

    Raises:
        ValueError: If there is no codestream.
    """
    bits = _Bits(_codestream(data)[2:HEADER])
    height, width = _size(bits)
    return JxlHeader(height, width, _colour(bits))


def jxl_info(data: bytes) -> dict[str, bytes]:
    """Read EXIF and XMP, under the names that Pillow uses."""
    info = {}
    for kind, start, stop in _boxes(data):
        content = data[start:stop]
        if kind == b"brob":  # ISO/IEC 18181-2, 9.3: compressed
            import imagecodecs

            kind, content = content[:4], bytes(imagecodecs.brotli_decode(content[4:]))
        if kind == b"Exif":
            info["exif"] = content[4:]
        elif kind == b"xml ":
            info["xmp"] = content
    return info


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, and the start and end of the content, of each box; ISO/IEC 18181-2."""
    place = 0 if not data.startswith(BARE) else len(data)
    while place + 16 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        size = size or len(data) - place
        if size < head:
            return
        yield kind, place + head, place + size
        place += size


def _codestream(data: bytes) -> bytes:
    """Find the codestream, which is bare or in one or several boxes."""
    if data.startswith(BARE):
        return data
    for kind, start, _ in _boxes(data):
        if kind in (b"jxlc", b"jxlp"):
            return data[start + (4 if kind == b"jxlp" else 0) :][:HEADER]
    raise ValueError("it has no pixels")


def _size(bits: _Bits) -> tuple[int, int]:
    """Read the height and width."""
    small = bits.flag()
    height = 8 * (bits.read(5) + 1) if small else bits.choose(SIDE)
    ratio = bits.read(3)
    if ratio:
        over, under = RATIOS[ratio - 1]
        return height, height * over // under
    return height, 8 * (bits.read(5) + 1) if small else bits.choose(SIDE)


def _colour(bits: _Bits) -> Colour:
    """Read the colours, which follow everything else in the header."""
    if bits.flag():  # all defaults
        return Colour()
    if bits.flag():
        bits.read(3)  # orientation
        if bits.flag():  # an intrinsic size for display
            _size(bits)
        if bits.flag() or bits.flag():  # a preview, an animation
            return UNKNOWN
    _skip_depth(bits)
    bits.flag()  # whether 16 bits suffice for decoding
    for _ in range(bits.choose(COUNT)):
        if not _skip_channel(bits):
            return UNKNOWN
    bits.flag()  # whether the colours are stored as XYB
    if bits.flag():  # sRGB
        return Colour()
    if bits.flag():  # a profile
        return UNKNOWN
    space = bits.choose(ENUM)
    white = bits.choose(ENUM)
    if white == CUSTOM or space >= XYB:
        return UNKNOWN
    primaries = SRGB if space == GRAY else bits.choose(ENUM)
    if primaries == CUSTOM or bits.flag():  # points, a gamma
        return UNKNOWN
    transfer = bits.choose(ENUM)
    if primaries == P3 and white == SRGB:
        primaries = P3_BY_D65
    elif white != SRGB and primaries != P3:
        return UNKNOWN
    return colour_of_codes(primaries, transfer, space == GRAY)


def _skip_depth(bits: _Bits) -> None:
    if bits.flag():  # floats
        bits.choose(FLOAT_DEPTH)
        bits.read(4)
    else:
        bits.choose(WHOLE_DEPTH)


def _skip_channel(bits: _Bits) -> bool:
    """Skip an extra channel; False if its kind is not supported."""
    if bits.flag():  # a default alpha
        return True
    kind = bits.choose(ENUM)
    _skip_depth(bits)
    bits.choose(SHIFT)
    for _ in range(bits.choose(LENGTH)):
        bits.read(8)
    if kind == ALPHA:
        bits.flag()  # whether colours are multiplied by it
    return kind not in (SPOT, CFA)
