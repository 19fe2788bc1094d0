"""Read image files of any mode and depth; the table `MODES` says what each mode becomes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from datasets.opening import MAX_PIXELS, TooLargeError, load, open_image, reason_of
from datasets.png import GRAY, PNG, chunks_before_pixels, decoded_png, depth_and_kind
from datasets.tiff import ORIENTATION, TIFF, Tiff, finite, read_tiff, sixteen_bits, turned
from errors import UserError
from rendering.colour import COLOUR_CHUNKS, Colour, colour_of_info, colour_of_png
from rendering.jxl import JXL
from rendering.kinds import (
    colour_of_avif,
    gain_map_notes,
    is_deep_avif,
    is_heif,
    read_deep_avif,
    read_heif,
    read_jxl,
    refuse_raw,
)
from rendering.metadata.reading import read_metadata, without_long_texts
from rendering.picture import Picture

MAX_BYTES = 2**32  # largest file, unless many pixels are allowed
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF", "AVIF")  # read by Pillow
KINDS = (*FORMATS, "TGA", "HEIC", "JPEG XL")
# The endings of all files that can be read.
ENDINGS = frozenset(
    f".{name}"
    for name in (
        *("png", "apng", "jpg", "jpeg", "jpe", "jfif", "mpo", "bmp", "dib", "tif", "tiff"),
        *("webp", "ppm", "pgm", "pbm", "pnm", "pfm", "gif", "tga", "avif", "avifs"),
        *("heic", "heics", "heif", "heifs", "hif", "jxl"),
    )
)

# Pillow's mode of the file -> mode it is rendered in. With a transparent colour ("transparency"),
# that mode is replaced by its counterpart with alpha.
MODES = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "LAB": "RGB",
    "I;16": "I;16",
    "I;16L": "I;16",
    "I;16B": "I;16",
    "I;16N": "I;16",
    "I": "I;16",
    "F": "F",
}
WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}


def read_picture(path: str | Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read an image file of any supported format, in its own depth.

    The orientation from the camera is applied. Only the first frame of an animation is read.

    Args:
        max_pixels: Number of pixels in the largest image that is read.

    Raises:
        UserError: If the file is missing, not an image, truncated, far too large, or has pixels of
            a kind that cannot be rendered.
    """
    with _readable(path):
        data = _content(Path(path), most_bytes(max_pixels))
    return read_bytes(data, str(path), max_pixels)


def most_bytes(max_pixels: int) -> int:
    """Compute the largest allowed file size in bytes; floats with alpha take 16 bytes a pixel."""
    return max(MAX_BYTES, 16 * max_pixels)


def read_bytes(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture from the content of a file; see `read_picture`.

    Args:
        name: Name of the file, for messages.
    """
    with _readable(name):
        if not data:
            raise ValueError("it is empty")
        if data.startswith(PNG) and b"IEND\xaeB`\x82" not in data:  # Pillow accepts that
            raise ValueError("it is truncated")
        if _is_deep_ppm(data):
            raise ValueError("16-bit PPM with colours is not supported; save it as PNG or TIFF")
        if data.startswith(TIFF) and (tiff := read_tiff(data, max_pixels)) is not None:
            return replace(_from_tiff(tiff), metadata=read_metadata(data))
        if is_heif(data):
            return read_heif(data, max_pixels)
        if data.startswith(JXL):
            return read_jxl(data, max_pixels)
        try:
            # Other files may look like a TGA.
            formats = [*FORMATS, "TGA"] if name.lower().endswith(".tga") else FORMATS
            content = without_long_texts(data) if data.startswith(PNG) else data
            opened = open_image(io.BytesIO(content), formats, max_pixels)
        except UnidentifiedImageError:
            refuse_raw(data, name)
            raise
        with opened as image:
            return _from_file(image, data)


def _from_file(image: ImageFile.ImageFile, data: bytes) -> Picture:
    """Make the picture of a file that Pillow has opened."""
    notes = _frame_notes(image)
    if image.format in ("JPEG", "MPO", "AVIF"):
        notes += gain_map_notes(data)
    if (deep := _deep_pixels(data)) is not None:
        upright = turned(deep, image.getexif().get(ORIENTATION, 1))
        picture = Picture(upright, image.info.get("icc_profile"))
    else:
        load(image)
        picture = _plain_picture(image)
    gray = picture.channels < 3
    if image.format == "PNG" and (chunks := chunks_before_pixels(data, COLOUR_CHUNKS)):
        colour = colour_of_png(chunks, picture.icc, gray)
    elif image.format == "AVIF" and not picture.icc:
        colour = colour_of_avif(data, gray)
    else:
        colour = Colour(picture.icc)
    notes += picture.notes + colour.notes
    metadata = read_metadata(data, image.info)
    tables = getattr(image, "quantization", None)  # JPEG only, by number; the first is for luma
    table = tuple(tables[min(tables)]) if tables else None
    return Picture(picture.pixels, colour.icc, notes, colour.cicp, metadata, table)


def _deep_pixels(data: bytes) -> np.ndarray | None:
    """Read the pixels of a file that Pillow would alter; None for any other file."""
    if _is_deep_png(data):
        return decoded_png(data)
    return read_deep_avif(data) if is_deep_avif(data) else None


def _frame_notes(image: ImageFile.ImageFile) -> tuple[str, ...]:
    """Make a note about further frames; the previews that cameras add to an MPO do not count."""
    frames = int(getattr(image, "n_frames", 1))
    if image.format == "MPO":
        entries = image.mpinfo[0xB002]  # type: ignore[attr-defined]
        kinds = [str(entry["Attribute"]["MPType"]) for entry in entries[1:]]
        frames = 1 + sum(kind.startswith("Multi-Frame") for kind in kinds)
    return (_first_of(frames),) if frames > 1 else ()


def _first_of(frames: int) -> str:
    return f"{frames} frames: only the first is rendered"


def from_pillow(image: Image.Image) -> Picture:
    """Make the picture of a Pillow image, which is loaded and turned upright here.

    Raises:
        ValueError: If its mode or range cannot be rendered.
    """
    image.load()
    picture = _plain_picture(image)
    if picture.icc:
        return picture
    colour = colour_of_info(image.info, picture.channels < 3)
    return replace(picture, icc=colour.icc, notes=picture.notes + colour.notes)


def _plain_picture(image: Image.Image) -> Picture:
    """Make the picture of a loaded image, with its ICC profile as the only colour information."""
    if image.mode not in MODES:
        raise ValueError(f"pixels of mode {image.mode} cannot be rendered")
    icc, notes = image.info.get("icc_profile"), []
    upright = ImageOps.exif_transpose(image)
    mode = MODES[image.mode]
    if "transparency" in image.info and mode in WITH_ALPHA:
        upright, mode = upright.convert("RGBA"), WITH_ALPHA[mode]
    if image.mode in ("CMYK", "LAB"):
        upright, managed = _to_srgb(upright, icc)
        icc = None  # it describes the colours before conversion
        notes = [] if managed else [f"{image.mode} without a usable profile: converted plainly"]
    if mode == "F":
        pixels = finite(np.asarray(upright, dtype=np.float32))
    elif mode == "I;16":
        pixels = sixteen_bits(np.asarray(upright))
    else:
        pixels = np.array(upright if upright.mode == mode else upright.convert(mode))
    return Picture(np.atleast_3d(pixels), icc, tuple(notes))


def _to_srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bool]:
    """Convert an image to sRGB, and say whether its profile was used."""
    srgb = ImageCms.createProfile("sRGB")
    try:
        if image.mode == "LAB":
            profile: Any = ImageCms.createProfile("LAB")
        else:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc or b""))
        converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
        assert converted is not None
        return converted, True
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB"), False


def _content(path: Path, max_bytes: int) -> bytes:
    """Read all bytes of a file, but not of pipes and devices, which may be endless."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    size = path.stat().st_size
    if size > max_bytes:
        raise TooLargeError(f"{size} bytes are more than the {max_bytes} allowed")
    return path.read_bytes()


def _is_deep_ppm(data: bytes) -> bool:
    """Check whether a file is a PPM with more than 8 bits, of which Pillow would keep 8."""
    if data[:2] not in (b"P3", b"P6"):
        return False
    words = re.sub(rb"#[^\n]*", b"", data[:4096]).split()
    return len(words) > 3 and words[3].isdigit() and int(words[3]) > 255


def _is_deep_png(data: bytes) -> bool:
    """Check whether a file is a PNG that Pillow would alter.

    Pillow keeps 8 of 16 bits with colour or alpha, and gets the transparent level of gray wrong.
    """
    depth, kind = depth_and_kind(data)
    if kind != GRAY:
        return depth == 16
    return depth not in (0, 8) and b"tRNS" in data[:4096]


def _from_tiff(tiff: Tiff) -> Picture:
    notes = [_first_of(tiff.frames)] if tiff.frames > 1 else []
    if tiff.left_out:
        notes.append(f"{tiff.left_out} further channels are left out")
    return Picture(tiff.pixels, tiff.icc, tuple(notes))


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Turn any error of a decoder into one line that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such image") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image of {', '.join(KINDS)}, or damaged") from None
    except TooLargeError as error:
        raise UserError(f"{path}: {error}: see --max-input-pixels") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason_of(error)}") from None
    except MemoryError:
        raise UserError(f"{path}: out of memory: it is too large") from None
    except ImportError:
        raise
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # decoders fail in any way on damaged files
        raise UserError(f"{path}: not a readable image: {reason_of(error)}") from None
