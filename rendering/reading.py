"""Reading image files of any mode and depth; the table `MODES` says what becomes of each."""

from __future__ import annotations

import io
import logging
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
from datasets.image_file import FORMATS
from rendering.picture import Picture

PNG = b"\x89PNG\r\n\x1a\n"
MAX_INPUT = 2**28  # pixels; more is taken for a decompression bomb
MAX_BYTES = 2**32
MAX_SAMPLES = 8  # of a TIFF's pixel

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

ORIENTATION = 0x0112  # tag of EXIF
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


def read_picture(path: str | Path) -> Picture:
    """Any image file of the allowed formats, in its own depth.

    The orientation that a camera noted is applied. Of an animation it is the first frame.

    Raises:
        UserError: If it is missing, not an image, truncated, far too large, or has pixels of a kind
            that cannot be rendered.
    """
    with _readable(path):
        data = _content(Path(path))
        if data.startswith(PNG) and b"IEND\xaeB`\x82" not in data:  # Pillow does not miss it
            raise ValueError("it is truncated")
        if _is_deep_ppm(data):
            raise ValueError("16-bit PPM with colours is not supported; save it as PNG or TIFF")
        if (deep := _read_deep_tiff(data)) is not None:
            return deep
        with _limited(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            frames = getattr(image, "n_frames", 1)
            notes = () if frames == 1 or image.format == "MPO" else (_first_of(frames),)
            if _is_deep_png(data):
                import imagecodecs

                pixels = np.asarray(imagecodecs.png_decode(data))
                turned = _turned(pixels, image.getexif().get(ORIENTATION, 1))
                return Picture(turned, image.info.get("icc_profile"), notes)
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
        pixels = _finite(np.asarray(upright, dtype=np.float32))
    elif mode == "I;16":
        levels = np.asarray(upright)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError("32-bit pixels have no agreed range; save it as 8 or 16 bits")
        pixels = levels.astype(np.uint16)
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


def _read_deep_tiff(data: bytes) -> Picture | None:
    """A TIFF of more than 8 bits, of which Pillow knows few kinds; None for anything else."""
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters is raised
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        if page.bitspersample <= 8:
            return None
        kind = tifffile.PHOTOMETRIC(page.photometric)
        gray = kind in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
        if not gray and kind != tifffile.PHOTOMETRIC.RGB:
            raise ValueError(f"TIFF of {page.bitspersample} bits and {kind.name} is not supported")
        if page.imagewidth * page.imagelength > MAX_INPUT:
            raise ValueError(f"more than {MAX_INPUT} pixels")
        if page.samplesperpixel > MAX_SAMPLES:
            raise ValueError(f"{page.samplesperpixel} channels are not supported")
        pixels, bits = page.asarray(), page.bitspersample
        if page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, -1)
        elif page.axes not in ("YX", "YXS"):
            raise ValueError(f"TIFF with axes {page.axes} is not supported")
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        extra, frames = page.extrasamples, len(file.pages)
        tags = {name: page.tags[name].value for name in ("Orientation",) if name in page.tags}
        icc = page.iccprofile
    colours = 1 if gray else 3
    alpha = colours < pixels.shape[2] and bool(extra) and extra[0] != 0
    notes = [_first_of(frames)] if frames > 1 else []
    if pixels.shape[2] > colours + alpha:
        notes.append(f"{pixels.shape[2] - colours - alpha} further channels are left out")
    pixels = _known_depth(pixels[..., : colours + alpha], bits)
    if kind == tifffile.PHOTOMETRIC.MINISWHITE:
        white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
        pixels[..., 0] = white - pixels[..., 0]
    if alpha and extra[0] == tifffile.EXTRASAMPLE.ASSOCALPHA:
        pixels = _unmultiplied(pixels)
    return Picture(_turned(pixels, tags.get("Orientation", 1)), icc, tuple(notes))


def _known_depth(pixels: np.ndarray, bits: int) -> np.ndarray:
    """uint16 of its whole range, or float32; native and writable."""
    if pixels.dtype.kind == "f":
        return _finite(pixels.astype(np.float32))
    if pixels.dtype.kind == "u" and bits == 16:
        return pixels.astype(np.uint16)
    if pixels.dtype.kind == "u" and bits < 16:  # such as 12 bits of a scanner
        return np.rint(pixels * (65535 / (2**bits - 1))).astype(np.uint16)
    raise ValueError(f"pixels of {pixels.dtype} have no agreed range; save it as 8 or 16 bits")


def _finite(pixels: np.ndarray) -> np.ndarray:
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


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    swapped, flipped = ORIENTATIONS.get(orientation, (False, ()))
    if swapped:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(np.flip(pixels, flipped))


@contextmanager
def _limited() -> Iterator[None]:
    """Pillow's guard against decompression bombs, for `MAX_INPUT` pixels."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = MAX_INPUT
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
