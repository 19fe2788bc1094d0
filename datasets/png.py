"""Decode PNG files whose pixels Pillow would change."""

from __future__ import annotations

import struct

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
