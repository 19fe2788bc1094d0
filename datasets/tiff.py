"""Read gray and RGB TIFF files of 8 bits and more; Pillow supports only a few kinds of them."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from datasets.opening import MAX_PIXELS, check_size
from datasets.raw import refuse_raw

if TYPE_CHECKING:
    import tifffile

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the first bytes of a file
MAX_SAMPLES = 8  # per pixel
ORIENTATION = 0x0112  # tag of EXIF and TIFF
# Value of the tag -> whether rows and columns are swapped, then which axes are flipped.
ORIENTATIONS: dict[int, tuple[bool, tuple[int, ...]]] = {
    2: (False, (1,)),
    3: (False, (0, 1)),
    4: (False, (0,)),
    5: (True, ()),
    6: (True, (1,)),
    7: (True, (0, 1)),
    8: (True, (0,)),
}


@dataclass(frozen=True)
class Tiff:
    """The first page of a TIFF.

    Attributes:
        pixels: uint8 or uint16 using its full range, or float32; (H, W, C), upright,
            C = colours + alpha.
        colours: Number of colours, 1 or 3.
        icc: Colour profile, if there is one.
        frames: Number of pages of the file.
        left_out: Number of channels besides colours and alpha.
    """

    pixels: np.ndarray
    colours: int
    icc: bytes | None
    frames: int
    left_out: int


_reading: ContextVar[bool] = ContextVar("reading", default=False)
# Important problems of files read here are raised; tifffile still logs those of other files.
logging.getLogger("tifffile").addFilter(lambda record: not _reading.get())


@contextmanager
def open_tiff(file: BinaryIO) -> Iterator[tifffile.TiffFile]:
    """Open the structure of a TIFF; meanwhile tifffile logs nothing in this thread."""
    import tifffile

    before = _reading.set(True)
    try:
        with tifffile.TiffFile(file) as opened:
            yield opened
    finally:
        _reading.reset(before)


def first_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    import tifffile

    page = file.pages[0]
    assert isinstance(page, tifffile.TiffPage)
    return page


def page_orientation(page: tifffile.TiffPage) -> int:
    return page.tags["Orientation"].value if "Orientation" in page.tags else 1


def read_tiff(data: bytes, max_pixels: int = MAX_PIXELS) -> Tiff | None:
    """Read a TIFF that is gray or RGB and has at least 8 bits; None if Pillow should read it.

    Raises:
        ValueError: If it is the raw file of a camera, too large, or has unsupported pixels.
    """
    import tifffile

    with open_tiff(io.BytesIO(data)) as file:
        refuse_raw(file, data)
        page = first_page(file)
        if page.bitspersample < 8:
            return None
        kind = tifffile.PHOTOMETRIC(page.photometric)
        gray = kind in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
        if not gray and kind != tifffile.PHOTOMETRIC.RGB:
            if page.bitspersample == 8:
                return None
            raise ValueError(f"TIFF of {page.bitspersample} bits and {kind.name} is not supported")
        check_size((page.imagewidth, page.imagelength), max_pixels)
        if page.samplesperpixel > MAX_SAMPLES:
            raise ValueError(f"{page.samplesperpixel} channels are not supported")
        pixels, bits = page.asarray(), page.bitspersample
        if page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, -1)
        elif page.axes not in ("YX", "YXS"):
            raise ValueError(f"TIFF with axes {page.axes} is not supported")
        extra, frames = page.extrasamples, len(file.pages)
        orientation, icc = page_orientation(page), page.iccprofile
    pixels = np.atleast_3d(pixels)
    colours = 1 if gray else 3
    alpha = colours < pixels.shape[2] and bool(extra) and extra[0] != 0
    left_out = pixels.shape[2] - colours - alpha
    pixels = _known_depth(pixels[..., : colours + alpha], bits)
    if kind == tifffile.PHOTOMETRIC.MINISWHITE:
        white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
        pixels[..., 0] = white - pixels[..., 0]
    if alpha and extra[0] == tifffile.EXTRASAMPLE.ASSOCALPHA:
        pixels = unmultiplied(pixels)
    return Tiff(turned(pixels, orientation), colours, icc, frames, left_out)


def _known_depth(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Convert to uint8 or uint16 using its full range, or float32; native and writable."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.int8:
        raise ValueError("signed 8-bit pixels have no agreed range; save it as unsigned 8 bits")
    if pixels.dtype.kind == "f":
        return finite(pixels.astype(np.float32))
    if pixels.dtype.kind == "u" and bits < 16:  # such as a scanner's 12 bits
        return scaled(pixels, bits)
    if pixels.dtype.kind in "ui":
        return sixteen_bits(pixels)
    raise ValueError(f"pixels of {pixels.dtype} have no agreed range; save it as 8 or 16 bits")


def scaled(levels: np.ndarray, bits: int) -> np.ndarray:
    """Scale levels of this many bits to the full range of uint16."""
    return np.rint(levels * (65535 / (2**bits - 1))).astype(np.uint16)


def sixteen_bits(levels: np.ndarray) -> np.ndarray:
    """Convert integers of any type to uint16 levels.

    Raises:
        ValueError: If there are any outside 0 to 65535.
    """
    if levels.min() < 0:
        raise ValueError("pixels below 0 have no agreed range; save it as unsigned 8 or 16 bits")
    if levels.max() > 65535:
        raise ValueError("32-bit pixels have no agreed range; save it as 8 or 16 bits")
    return levels.astype(np.uint16)


def finite(pixels: np.ndarray) -> np.ndarray:
    if not np.isfinite(pixels).all():
        raise ValueError("it has pixels that are not finite")
    return pixels


def unmultiplied(pixels: np.ndarray) -> np.ndarray:
    """Divide colours by alpha if they were stored multiplied by it."""
    white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1.0
    alpha = pixels[..., -1:].astype(np.float64) / white
    colour = np.divide(
        pixels[..., :-1], alpha, out=np.zeros(pixels[..., :-1].shape), where=alpha > 0
    )
    if pixels.dtype.kind == "u":
        colour = np.rint(colour).clip(0, white)
    return np.concatenate([colour.astype(pixels.dtype), pixels[..., -1:]], axis=-1)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels (H, W[, C]) upright; returns (H, W, C)."""
    pixels = np.atleast_3d(pixels)
    swapped, flipped = ORIENTATIONS.get(orientation, (False, ()))
    if swapped:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(np.flip(pixels, flipped))
