"""Read and write single image files, and resize pixels as Pillow does."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from datasets.opening import load, open_image, reason_of
from datasets.patience import patiently
from datasets.png import GRAY_ALPHA, decoded_png, depth_and_kind
from datasets.tiff import ORIENTATION, TIFF, read_tiff, sixteen_bits, turned
from errors import UserError
from files.whole import written_whole

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
Channels = Literal[1, 3]

# Errors of the machine rather than of a file.
EXHAUSTED = {
    errno.EMFILE: "too many files are open in this process; raise `ulimit -n` or lower num_workers",
    errno.ENFILE: "too many files are open on this machine; close some or lower num_workers",
    errno.ENOMEM: "the memory is full; lower num_workers",
}


class UnreadableError(UserError):
    """The error of an image file that is missing, damaged or of a kind that cannot be read."""


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Turn any error in reading an image into one line that names it."""
    try:
        yield
    except FileNotFoundError:
        raise UnreadableError(f"{path}: no such image") from None
    except (MemoryError, ImportError):
        raise
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise UserError(f"{path}: {EXHAUSTED[error.errno]}") from None
        raise UnreadableError(f"{path}: not a readable image: {_reason(error)}") from None
    except Exception as error:  # decoders can raise anything on damaged files
        raise UnreadableError(f"{path}: not a readable image: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # whose text has an address in memory
        return "of no known format"
    return reason_of(error)


def read_image(path: str | Path, channels: Channels = 3) -> np.ndarray:
    """Read the pixels of an image file, upright: the orientation that a camera noted is applied.

    A palette is looked up and alpha is dropped. Disk errors that may be temporary are retried.

    Args:
        path: The file.
        channels: With 3, gray becomes RGB, 16-bit gray is rounded to 8 bits, and only the upper 8
            bits of 16-bit colour are used. With 1, colours become ITU-R 601-2 luma, as in Pillow.

    Returns:
        uint8 (H, W, channels); for one channel uint16 (H, W, 1) if a gray file has more than 8
        bits.

    Raises:
        UnreadableError: If the file is missing, not an image, truncated, far too large, or has
            pixels of no agreed range.
        UserError: If the machine has no files or memory left.
    """
    with readable(path):
        pixels = _decoded(patiently(Path(path).read_bytes))
    if pixels.shape[2] == channels:
        return pixels
    if channels == 1:
        return np.array(Image.fromarray(pixels).convert("L"))[:, :, None]
    return np.repeat(np.rint(pixels / 257).astype(np.uint8), 3, axis=2)


def _decoded(data: bytes) -> np.ndarray:
    """Decode a file to uint8 (H, W, 3), or uint16 (H, W, 1) if it is gray with more than 8 bits."""
    if data.startswith(TIFF) and (tiff := read_tiff(data)) is not None:
        if tiff.pixels.dtype == np.float32:
            raise ValueError("floating-point pixels have no agreed range; save it as 8 or 16 bits")
        pixels = tiff.pixels[:, :, : tiff.colours]
        if pixels.dtype == np.uint8:
            return np.repeat(pixels, 3, axis=2) if tiff.colours == 1 else pixels
        return pixels if tiff.colours == 1 else (pixels >> 8).astype(np.uint8)
    with open_image(io.BytesIO(data), FORMATS) as image:
        load(image)
        if depth_and_kind(data) == (16, GRAY_ALPHA):  # Pillow keeps only 8 of its bits
            return turned(decoded_png(data)[:, :, :1], image.getexif().get(ORIENTATION, 1))
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        return sixteen_bits(np.asarray(upright))[:, :, None]
    if upright.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it as 8 or 16 bits")
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return np.array(upright.convert("RGB"))


def write_image(path: str | Path, picture: Tensor, **options: Any) -> None:
    """Write a picture (3, H, W) or (1, H, W) in [0, 1], rounded to 8 bits; see `write_pixels`."""
    pixels = (picture * 255).round().clamp(0, 255).byte()
    write_pixels(path, pixels.permute(1, 2, 0).contiguous().numpy(), **options)


def write_pixels(path: str | Path, pixels: np.ndarray, **options: Any) -> None:
    """Write pixels to an image file; its folder is created, and it is never seen half-written.

    Args:
        path: File whose ending names the format.
        pixels: uint8 (H, W, 3) or (H, W, 1), or uint16 (H, W, 1) if the format has 16 bits.
        options: Options of Pillow for the format.

    Raises:
        UserError: If the ending names no image format.
        OSError: If it cannot be written.
    """
    path = Path(path)
    check_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()  # for a full disk, Pillow would only report "encoder error -2"
    try:
        to_image(pixels).save(encoded, format=_format(path), **options)
    except ValueError as error:  # such as a size that the format does not support
        raise UserError(f"{path}: {error}") from None
    with written_whole(path) as file:
        file.write(encoded.getbuffer())


def to_image(pixels: np.ndarray) -> Image.Image:
    """Convert pixels (H, W, C) or (H, W) to a Pillow image, which is gray for one channel."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels)


def check_output(path: str | Path) -> None:
    """Raise a `UserError` if it is already clear that no picture can be written to ``path``."""
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder; name a file")
    if _format(Path(path)) not in FORMATS:
        known = ", ".join(sorted(EXTENSIONS))
        raise UserError(f"{path}: cannot tell the image format from the ending; use one of {known}")


def check_targets(written: Iterable[tuple[Path, Path]]) -> None:
    """Raise a `UserError` if two images would be written to one file, or an image overwritten.

    Args:
        written: For each output, the image that it is made from, and its path.
    """
    source_of: dict[Path, Path] = {}
    for source, target in written:
        first = source_of.setdefault(target.resolve(), source)
        if first != source:
            raise UserError(f"{first} and {source}: both would be written to {target}; rename one")
    for source in set(source_of.values()):
        if source.resolve() in source_of:
            raise UserError(f"{source}: would be overwritten; name another folder for the output")


def _format(path: Path) -> str:
    return Image.registered_extensions().get(path.suffix.lower(), "")


def to_unit(pixels: Tensor) -> Tensor:
    """Scale pixels to float32 in [0, 1]; uint8 is divided by 255, uint16 by 65535, floats stay."""
    levels = {torch.uint8: 255, torch.uint16: 65535}.get(pixels.dtype)
    return pixels if levels is None else pixels.float() / levels


def resize_bicubic(pixels: Tensor, height: int, width: int) -> Tensor:
    """Resize pixels with Pillow's antialiased bicubic.

    Args:
        pixels: (3, H, W) uint8, or floats in [0, 1], which are rounded to 8 bits first; or
            (1, H, W) uint8, uint16, or floats in [0, 1].
        height, width: Size of the result.

    Returns:
        uint8 (3, height, width); for one channel the type of the input, where floats are float32
        and multiples of 1/65535.
    """
    if len(pixels) == 1 and pixels.dtype != torch.uint8:
        return _resize_deep(pixels, height, width)
    if pixels.dtype != torch.uint8:
        pixels = (pixels * 255).round().clamp(0, 255).byte()
    image = to_image(pixels.permute(1, 2, 0).contiguous().numpy())
    resized = np.array(image.resize((width, height), Image.Resampling.BICUBIC))
    return torch.from_numpy(resized).view(height, width, -1).permute(2, 0, 1)


def _resize_deep(pixels: Tensor, height: int, width: int) -> Tensor:
    """Resize (1, H, W) in floating point, then round to 16 bits."""
    levels = pixels.float() if pixels.dtype == torch.uint16 else pixels.float() * 65535
    image = Image.fromarray(levels[0].contiguous().numpy())
    resized = np.array(image.resize((width, height), Image.Resampling.BICUBIC))
    rounded = torch.from_numpy(np.rint(resized).clip(0, 65535))[None]
    return rounded.to(torch.uint16) if pixels.dtype == torch.uint16 else rounded / 65535
