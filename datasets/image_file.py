"""Reading one image file, and resizing pixels as Pillow does."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from configs.files import written_whole
from configs.spec import UserError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")


def read_image(path: str | Path) -> np.ndarray:
    """An image file as 8-bit RGB.

    Gray becomes RGB, a palette is looked up, alpha is dropped, 16-bit gray is rounded to 8 bits (of
    16-bit colour Pillow gives the upper 8), and the orientation that a camera noted is applied.

    Returns:
        uint8 (H, W, 3).

    Raises:
        UserError: If the file is missing, not an image, truncated or far too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise UserError(f"{path}: no such image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a readable image: {reason}") from None


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow's convert would saturate
        levels = np.asarray(image, dtype=np.float64)
        if levels.max() > 65535:
            raise ValueError("32-bit pixels have no agreed range; save it as 8 or 16 bits")
        gray = np.rint(levels / 257).clip(0, 255).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it as 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def write_image(path: str | Path, picture: Tensor, **options: Any) -> None:
    """Write a picture (3, H, W) in [0, 1], rounded to 8 bits; see `write_pixels`."""
    pixels = (picture * 255).round().clamp(0, 255).byte()
    write_pixels(path, pixels.permute(1, 2, 0).contiguous().numpy(), **options)


def write_pixels(path: str | Path, pixels: np.ndarray, **options: Any) -> None:
    """Write 8-bit pixels; the folder is made, a half-written file never seen.

    Args:
        path: The ending names the format.
        pixels: uint8 (H, W, 3).
        options: Of Pillow, for the format.

    Raises:
        UserError: If the ending names no image format.
        OSError: If it cannot be written.
    """
    path = Path(path)
    check_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as file:
        try:
            Image.fromarray(pixels).save(file, format=_format(path), **options)
        except ValueError as error:  # such as a size that the format does not have
            raise UserError(f"{path}: {error}") from None


def check_output(path: str | Path) -> None:
    """Raise a `UserError` if it is plain already that no picture can be written to ``path``."""
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder; name a file")
    if _format(Path(path)) not in FORMATS:
        known = ", ".join(sorted(EXTENSIONS))
        raise UserError(f"{path}: cannot tell the image format from the ending; use one of {known}")


def _format(path: Path) -> str:
    return Image.registered_extensions().get(path.suffix.lower(), "")


def to_unit(pixels: Tensor) -> Tensor:
    """Pixels as float32 in [0, 1]; uint8 is divided by 255, floats stay."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def resize_bicubic(pixels: Tensor, height: int, width: int) -> Tensor:
    """Pillow's antialiased bicubic on 8-bit pixels: uint8 (3, H, W) -> uint8 (3, height, width)."""
    if pixels.dtype != torch.uint8:
        pixels = (pixels * 255).round().clamp(0, 255).byte()
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)
