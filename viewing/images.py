"""Turn rendered pixels into files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from rendering.picture import Picture
from rendering.writing import UINT8, Layout, format_of

QUALITY = 90  # of JPEG and WebP


def encode_image(pixels: np.ndarray, kind: str, picture: Picture, gray: bool = False) -> bytes:
    """Encode the pixels of a photograph as a PNG, JPEG or WebP.

    Args:
        pixels: (H, W, C), uint8, as many channels as the photograph has.
        kind: Ending of the format.
        picture: The photograph, for its colour profile.
        gray: Whether its colours have been made gray, so that the profile no longer fits.
    """
    format = format_of(f"image.{kind}")
    if pixels.shape[2] in (2, 4) and pixels.shape[2] not in format.channels:
        pixels = on_white(pixels)
    if pixels.shape[2] not in format.channels:
        pixels = pixels.repeat(3, axis=2)
    keeps = not gray and (picture.channels < 3) == (pixels.shape[2] < 3)
    layout = Layout(
        pixels.shape[0],
        pixels.shape[1],
        pixels.shape[2],
        UINT8,
        icc=picture.icc if keeps else None,
        quality=QUALITY,
        cicp=picture.cicp if keeps and format.name == "PNG" else None,
    )
    file = io.BytesIO()
    format.write(file, layout, iter([np.ascontiguousarray(pixels)]))
    return file.getvalue()


def on_white(pixels: np.ndarray) -> np.ndarray:
    """Put pixels with alpha (H, W, 2 or 4) on white."""
    opacity = pixels[..., -1:].astype(np.uint32)
    mixed: Any = pixels[..., :-1] * opacity + 255 * (255 - opacity)
    return ((mixed + 127) // 255).astype(np.uint8)


def in_gray(pixels: np.ndarray) -> np.ndarray:
    """Make pixels (H, W, C) gray, by the luma of ITU-R BT.601; alpha stays."""
    if pixels.shape[2] < 3:
        return pixels
    luma = pixels[..., :3] @ np.array([0.299, 0.587, 0.114])
    gray = np.round(luma).astype(np.uint8)[..., None]
    return np.concatenate([gray, pixels[..., 3:]], axis=2)


def in_black_and_white(pixels: np.ndarray) -> np.ndarray:
    """Make pixels (H, W, C) black or white, and put them on white."""
    gray = in_gray(pixels)
    gray = on_white(gray) if gray.shape[2] == 2 else gray
    return np.where(gray < 128, 0, 255).astype(np.uint8)
