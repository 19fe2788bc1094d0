"""Read files that Pillow cannot, or not at full depth: HEIC, AVIF, JPEG XL; and recognise raws."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from datasets.opening import check_size
from datasets.raw import RAW
from datasets.tiff import finite, scaled, unmultiplied
from errors import UserError
from rendering.colour import Colour, colour_of_codes
from rendering.jxl import jxl_info, read_jxl_header
from rendering.metadata.reading import read_metadata
from rendering.picture import Picture

HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
HEIF_OR_AVIF = {b"mif1", b"msf1"}
RAW_ENDINGS = frozenset(
    f".{name}"
    for name in (
        *("3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff", "gpr", "iiq", "kdc"),
        *(
            "mef",
            "mos",
            "mrw",
            "nef",
            "nrw",
            "orf",
            "pef",
            "raf",
            "raw",
            "rw2",
            "rwl",
            "sr2",
            "srf",
        ),
        *("srw", "x3f"),
    )
)
RAW_STARTS = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"\0MRM", b"FOVb")
# Marks of a file with a gain map, by Google and Adobe, ISO 21496-1, and Apple.
GAIN_MAPS = (
    b"http://ns.adobe.com/hdr-gain-map/",
    b"urn:iso:std:iso:ts:21496:-1",
    b"http://ns.apple.com/HDRGainMap/",
    b"urn:com:apple:photo:2020:aux:hdrgainmap",
)


def is_heif(data: bytes) -> bool:
    """Check whether a file is HEIC, or anything but AVIF in the same container."""
    brands = _brands(data)
    return bool(brands) and (
        brands[0] in HEIF_BRANDS or (brands[0] in HEIF_OR_AVIF and b"avif" not in brands)
    )


def is_deep_avif(data: bytes) -> bool:
    """Check whether a file is an AVIF of 10 or 12 bits, of which Pillow would keep 8."""
    return b"avif" in _brands(data) and _avif_bits(data) > 8


def refuse_raw(data: bytes, name: str) -> None:
    """Raise a `ValueError` if an unreadable file begins or is named like a raw."""
    named = Path(name).suffix.lower() in RAW_ENDINGS
    if named or data.startswith(RAW_STARTS) or data[4:12] == b"ftypcrx ":
        raise ValueError(RAW)


def gain_map_notes(data: bytes) -> tuple[str, ...]:
    if b"tmap" in _brands(data) or any(mark in data for mark in GAIN_MAPS):
        return ("its gain map, which makes it HDR, is left out: the base image is rendered",)
    return ()


def read_heif(data: bytes, max_pixels: int) -> Picture:
    """Read the primary image of a HEIF, upright by its irot and imir, which EXIF only repeats.

    Raises:
        UserError: If pillow-heif is not installed.
        ValueError: If the image has too many pixels.
    """
    try:
        import pillow_heif
    except ImportError:
        raise UserError("HEIC needs the package pillow-heif: pip install pillow-heif") from None
    # Keep the file's depth: white is lost when pillow-heif converts 10 bits to 16.
    file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    image = file[file.primary_index]
    check_size(image.size, max_pixels)
    info: dict[str, Any] = image.info
    pixels, bits = np.atleast_3d(np.asarray(image)), int(info["bit_depth"])
    if bits > 8:
        pixels = scaled(pixels, bits)
    icc, nclx = info.get("icc_profile"), info.get("nclx_profile")
    colour = Colour(icc)
    if not icc and nclx:
        codes = int(nclx["color_primaries"]), int(nclx["transfer_characteristics"])
        colour = colour_of_codes(*codes, gray=pixels.shape[2] < 3)
    if image.premultiplied_alpha:
        pixels = unmultiplied(pixels)
    further = len(file) - 1
    notes = gain_map_notes(data)
    if further:
        notes = (f"{further} further images are left out", *notes)
    return Picture(pixels, colour.icc, notes, colour.cicp, read_metadata(data, info))


def read_deep_avif(data: bytes) -> np.ndarray:
    """Read the pixels of an AVIF of more than 8 bits as uint16 (h, w, C), as stored."""
    import imagecodecs

    pixels = np.atleast_3d(imagecodecs.avif_decode(data, index=0))
    return scaled(pixels, _avif_bits(data))


def colour_of_avif(data: bytes, gray: bool) -> Colour:
    """Read the colour space of an AVIF without a profile."""
    found = re.search(rb"colrnclx(.{4})", data[: 2**16], re.DOTALL)
    if found is None:
        return Colour()
    primaries, transfer = struct.unpack(">HH", found[1])
    return colour_of_codes(primaries, transfer, gray)


def read_jxl(data: bytes, max_pixels: int) -> Picture:
    """Read the first frame of a JPEG XL, upright, in 8 or 16 bits or floats.

    Raises:
        ValueError: If it has too many pixels.
    """
    import imagecodecs

    header = read_jxl_header(data)
    check_size((header.width, header.height), max_pixels)
    pixels: Any = np.atleast_3d(imagecodecs.jpegxl_decode(data, index=0))
    if pixels.dtype.kind == "f":
        pixels = finite(pixels.astype(np.float32))
    metadata = read_metadata(data, jxl_info(data))
    return Picture(pixels, header.colour.icc, header.colour.notes, header.colour.cicp, metadata)


def _brands(data: bytes) -> list[bytes]:
    """List the brands of a file of ISO boxes, the major one first."""
    if data[4:8] != b"ftyp":
        return []
    size = min(int.from_bytes(data[:4], "big"), 256)
    return [data[8:12], *(data[place : place + 4] for place in range(16, size, 4))]


def _avif_bits(data: bytes) -> int:
    """Read the bit depth from the third byte of the AV1 configuration, with flags for 10 and 12."""
    found = re.search(rb"av1C\x81.(.)", data[: 2**16], re.DOTALL)
    if found is None or not found[1][0] & 0x40:
        return 8
    return 12 if found[1][0] & 0x20 else 10
