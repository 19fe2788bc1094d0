"""Reading image files of any mode and depth; the table `MODES` says what becomes of each."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from configs.command import first_line
from configs.spec import UserError
from datasets.image_file import EXTENSIONS, FORMATS
from datasets.tiff import (
    MAX_PIXELS,
    ORIENTATION,
    DeepTiff,
    finite,
    read_deep_tiff,
    sixteen_bits,
    turned,
)
from rendering.picture import Picture

ENDINGS = EXTENSIONS  # of files that can be read
PNG = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 2**32

# Mode of the file as Pillow names it -> mode it is rendered in. With a transparent colour
# ("transparency") a mode becomes its counterpart with alpha.
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


def read_picture(path: str | Path) -> Picture:
    """Any image file of the allowed formats, in its own depth.

    The orientation that a camera noted is applied. Of an animation it is the first frame.

    Raises:
        UserError: If it is missing, not an image, truncated, far too large, or has pixels of a kind
            that cannot be rendered.
    """
    with _readable(path):
        data = _content(Path(path))
    return read_bytes(data, str(path))


def read_bytes(data: bytes, name: str) -> Picture:
    """As `read_picture`, of the content of a file.

    Args:
        name: For messages.
    """
    with _readable(name):
        if data.startswith(PNG) and b"IEND\xaeB`\x82" not in data:  # Pillow does not miss it
            raise ValueError("it is truncated")
        if _is_deep_ppm(data):
            raise ValueError("16-bit PPM with colours is not supported; save it as PNG or TIFF")
        if (deep := read_deep_tiff(data)) is not None:
            return _from_tiff(deep)
        with _limited(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            frames = getattr(image, "n_frames", 1)
            notes = () if frames == 1 or image.format == "MPO" else (_first_of(frames),)
            if _is_deep_png(data):
                import imagecodecs

                pixels = np.asarray(imagecodecs.png_decode(data))
                upright = turned(pixels, image.getexif().get(ORIENTATION, 1))
                return Picture(upright, image.info.get("icc_profile"), notes)
            picture = from_pillow(image)
            return Picture(picture.pixels, picture.icc, (*notes, *picture.notes))


def _first_of(frames: int) -> str:
    return f"{frames} frames: only the first is rendered"


def from_pillow(image: Image.Image) -> Picture:
    """The picture of a Pillow image, which is loaded and turned upright here.

    Raises:
        ValueError: If its mode or range cannot be rendered.
    """
    image.load()
    if image.mode not in MODES:
        raise ValueError(f"pixels of mode {image.mode} cannot be rendered")
    icc, notes = image.info.get("icc_profile"), []
    upright = ImageOps.exif_transpose(image)
    mode = MODES[image.mode]
    if "transparency" in image.info and mode in WITH_ALPHA:
        upright, mode = upright.convert("RGBA"), WITH_ALPHA[mode]
    if image.mode in ("CMYK", "LAB"):
        upright, managed = _to_srgb(upright, icc)
        icc = None  # it describes the colours before
        notes = [] if managed else [f"{image.mode} without a usable profile: converted plainly"]
    if mode == "F":
        pixels = finite(np.asarray(upright, dtype=np.float32))
    elif mode == "I;16":
        pixels = sixteen_bits(np.asarray(upright))
    else:
        pixels = np.array(upright if upright.mode == mode else upright.convert(mode))
    return Picture(pixels[..., None] if pixels.ndim == 2 else pixels, icc, tuple(notes))


def _to_srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bool]:
    """In RGB, and whether by its profile."""
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


def _content(path: Path) -> bytes:
    """All bytes of a file; of a pipe or a device there may be no end."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    if not size:
        raise ValueError("it is empty")
    return path.read_bytes()


def _is_deep_ppm(data: bytes) -> bool:
    """Whether it is a PPM with more than 8 bits, of which Pillow keeps 8."""
    if data[:2] not in (b"P3", b"P6"):
        return False
    words = re.sub(rb"#[^\n]*", b"", data[:4096]).split()
    return len(words) > 3 and words[3].isdigit() and int(words[3]) > 255


def _is_deep_png(data: bytes) -> bool:
    """Whether it is a PNG that Pillow changes.

    It keeps 8 of 16 bits with colour or alpha, and mistakes the transparent level of gray.
    """
    if len(data) < 26 or not data.startswith(PNG):
        return False
    depth, colour = struct.unpack_from(">BB", data, 24)
    return (depth == 16 and colour != 0) or (colour == 0 and depth != 8 and b"tRNS" in data[:4096])


def _from_tiff(deep: DeepTiff) -> Picture:
    notes = [_first_of(deep.frames)] if deep.frames > 1 else []
    if deep.left_out:
        notes.append(f"{deep.left_out} further channels are left out")
    return Picture(deep.pixels, deep.icc, tuple(notes))


@contextmanager
def _limited() -> Iterator[None]:
    """Pillow's guard against decompression bombs, for `MAX_PIXELS` pixels."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Whatever a decoder says of a file becomes one line that names it."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such image") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image of {', '.join(FORMATS)}, or damaged") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {_reason(error)}") from None
    except MemoryError:
        raise UserError(f"{path}: out of memory: it is too large") from None
    except ImportError:
        raise
    except Exception as error:  # decoders fail in any way on damaged files
        raise UserError(f"{path}: not a readable image: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)
