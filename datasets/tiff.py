"""TIFF files of more than 8 bits, of which Pillow knows few kinds."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import tifffile

MAX_PIXELS = 2**28  # more is taken for a decompression bomb
MAX_SAMPLES = 8  # of a pixel
ORIENTATION = 0x0112  # tag of EXIF and TIFF
# Its value -> whether rows and columns change places, then which axes are flipped.
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
class DeepTiff:
    """The first page of a TIFF.

    Attributes:
        pixels: uint16 of its whole range, or float32; (H, W, C), upright, C = colours + alpha.
        colours: 1 or 3.
        icc: The profile, if there is one.
        frames: Pages of the file.
        left_out: Channels beside colours and alpha.
    """

    pixels: np.ndarray
    colours: int
    icc: bytes | None
    frames: int
    left_out: int


def is_tiff(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def open_tiff(file: BinaryIO) -> tifffile.TiffFile:
    """The structure of a TIFF; what matters is raised, so that nobody need read tifffile's log.

    A program that has set up logging gets it; one that has not, nothing on stderr.
    """
    import tifffile

    log = logging.getLogger("tifffile")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    return tifffile.TiffFile(file)


def first_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    import tifffile

    page = file.pages[0]
    assert isinstance(page, tifffile.TiffPage)
    return page


def page_orientation(page: tifffile.TiffPage) -> int:
    return page.tags["Orientation"].value if "Orientation" in page.tags else 1


def read_deep_tiff(data: bytes) -> DeepTiff | None:
    """A TIFF of more than 8 bits; None for anything else.

    Raises:
        ValueError: If its pixels are of a kind that is not supported.
    """
    if not is_tiff(data):
        return None
    import tifffile

    with open_tiff(io.BytesIO(data)) as file:
        page = first_page(file)
        if page.bitspersample <= 8:
            return None
        kind = tifffile.PHOTOMETRIC(page.photometric)
        gray = kind in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
        if not gray and kind != tifffile.PHOTOMETRIC.RGB:
            raise ValueError(f"TIFF of {page.bitspersample} bits and {kind.name} is not supported")
        if page.imagewidth * page.imagelength > MAX_PIXELS:
            raise ValueError(f"more than {MAX_PIXELS} pixels")
        if page.samplesperpixel > MAX_SAMPLES:
            raise ValueError(f"{page.samplesperpixel} channels are not supported")
        pixels, bits = page.asarray(), page.bitspersample
        if page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, -1)
        elif page.axes not in ("YX", "YXS"):
            raise ValueError(f"TIFF with axes {page.axes} is not supported")
        extra, frames = page.extrasamples, len(file.pages)
        orientation, icc = page_orientation(page), page.iccprofile
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    colours = 1 if gray else 3
    alpha = colours < pixels.shape[2] and bool(extra) and extra[0] != 0
    left_out = pixels.shape[2] - colours - alpha
    pixels = _known_depth(pixels[..., : colours + alpha], bits)
    if kind == tifffile.PHOTOMETRIC.MINISWHITE:
        white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
        pixels[..., 0] = white - pixels[..., 0]
    if alpha and extra[0] == tifffile.EXTRASAMPLE.ASSOCALPHA:
        pixels = _unmultiplied(pixels)
    return DeepTiff(turned(pixels, orientation), colours, icc, frames, left_out)


def _known_depth(pixels: np.ndarray, bits: int) -> np.ndarray:
    """uint16 of its whole range, or float32; native and writable."""
    if pixels.dtype.kind == "f":
        return finite(pixels.astype(np.float32))
    if pixels.dtype.kind == "u" and bits < 16:  # such as 12 bits of a scanner
        return np.rint(pixels * (65535 / (2**bits - 1))).astype(np.uint16)
    if pixels.dtype.kind in "ui":
        return sixteen_bits(pixels)
    raise ValueError(f"pixels of {pixels.dtype} have no agreed range; save it as 8 or 16 bits")


def sixteen_bits(levels: np.ndarray) -> np.ndarray:
    """Integers of any type as uint16 levels.

    Raises:
        ValueError: If there are others than 0 to 65535.
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


def _unmultiplied(pixels: np.ndarray) -> np.ndarray:
    """Colours that were stored multiplied by their alpha, divided by it."""
    white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1.0
    alpha = pixels[..., -1:].astype(np.float64) / white
    colour = np.divide(
        pixels[..., :-1], alpha, out=np.zeros(pixels[..., :-1].shape), where=alpha > 0
    )
    if pixels.dtype.kind == "u":
        colour = np.rint(colour).clip(0, white)
    return np.concatenate([colour.astype(pixels.dtype), pixels[..., -1:]], axis=-1)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W[, C]) as (H, W, C), upright."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    swapped, flipped = ORIENTATIONS.get(orientation, (False, ()))
    if swapped:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(np.flip(pixels, flipped))
