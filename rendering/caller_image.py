"""Convert callers' images (paths, Pillow images, arrays, tensors) to pictures and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.opening import MAX_PIXELS
from errors import UserError
from rendering.picture import Picture
from rendering.reading import from_pillow, read_picture

Kind = TypeVar("Kind", str, Path, Image.Image, np.ndarray, Tensor)


@dataclass(frozen=True)
class CallerImage:
    """An image that a caller passed in.

    Attributes:
        pictures: One picture, or for a batch of tensors several of one size.
        returned: Converts the rendered pixels (H, W, C), one array of the input's dtype for each
            picture, to what the caller gets; for a file, converts the `Path` that was written.
        path: Path of the file, if the caller passed one.
        image: The Pillow image, if the caller passed one.
    """

    pictures: tuple[Picture, ...]
    returned: Callable[[Any], Any]
    path: Path | None = None
    image: Image.Image | None = None


def take(image: Any, max_pixels: int = MAX_PIXELS) -> CallerImage:
    """Read a caller's image: a path, a Pillow image, an array or a tensor.

    Args:
        max_pixels: Number of pixels in the largest file that is read.

    Raises:
        UserError: If the image is of another kind, or cannot be rendered.
    """
    if isinstance(image, (str, Path)):
        kind = str if isinstance(image, str) else Path
        return CallerImage((read_picture(image, max_pixels),), kind, Path(image))
    if isinstance(image, Image.Image):
        return _take_pillow(image)
    if isinstance(image, np.ndarray):
        return _take_array(image)
    if isinstance(image, Tensor):
        return _take_tensor(image)
    raise UserError(
        f"cannot render a {type(image).__name__}: give a path, a Pillow image, an array or a tensor"
    )


def _take_pillow(image: Image.Image) -> CallerImage:
    try:
        picture = from_pillow(image)
    except (ValueError, OSError) as error:
        raise UserError(f"cannot render this image: {error}") from None

    def returned(pixels: list[np.ndarray]) -> Image.Image:
        result = Image.fromarray(pixels[0].squeeze(2) if picture.channels == 1 else pixels[0])
        if picture.icc:
            result.info["icc_profile"] = picture.icc
        return result

    return CallerImage((picture,), returned, image=image)


def _take_array(image: np.ndarray) -> CallerImage:
    if type(image) not in (np.ndarray, np.memmap):  # subclasses may redefine operations
        hint = "image.filled(0)" if isinstance(image, np.ma.MaskedArray) else "np.asarray(image)"
        raise UserError(f"cannot render a {type(image).__name__}: give {hint}")
    picture = _picture(image)

    def returned(pixels: list[np.ndarray]) -> np.ndarray:
        result = pixels[0].astype(image.dtype, copy=False)
        return result.squeeze(2) if image.ndim == 2 else result

    return CallerImage((picture,), returned)


def _picture(image: np.ndarray) -> Picture:
    pixels = np.asarray(image[..., None] if image.ndim == 2 else image)
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or not pixels.size:
        raise UserError(f"an array (h, w) or (h, w, 1 to 4) is wanted, got {image.shape}")
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            pixels = pixels.astype(np.float32)
        if not np.isfinite(pixels).all():
            raise UserError("the array has values that are not finite, or too large for float32")
    elif pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    else:
        hint = "; give image.astype('uint8') * 255" if pixels.dtype == bool else ""
        raise UserError(f"uint8, uint16 or floats are wanted, got {image.dtype}{hint}")
    return Picture(pixels)


def _take_tensor(image: Tensor) -> CallerImage:
    if image.is_quantized:
        raise UserError("a quantized tensor cannot be rendered: give image.dequantize()")
    if image.layout != torch.strided or image.is_nested:
        raise UserError(f"a tensor of {image.layout} cannot be rendered: give image.to_dense()")
    if image.is_meta:
        raise UserError("a tensor on the device meta has no pixels to render")
    if image.ndim < 3:
        raise UserError(f"a tensor (..., C, h, w) is wanted, got {tuple(image.shape)}")
    if not image.numel():
        raise UserError(f"a tensor with pixels is wanted, got {tuple(image.shape)}")
    if image.dtype == torch.bool:
        raise UserError("uint8, uint16 or floats are wanted, got bool; give image.byte() * 255")
    host = image.detach().cpu().resolve_neg()
    if host.is_floating_point() and host.dtype not in (torch.float16, torch.float64):
        host = host.float()  # numpy has no bfloat16
    batch = host.as_subclass(Tensor).reshape(-1, *image.shape[-3:]).permute(0, 2, 3, 1)
    pictures = tuple(_picture(one) for one in batch.numpy())
    lead, dtype, device = image.shape[:-3], image.dtype, image.device

    def returned(pixels: list[np.ndarray]) -> Tensor:
        results = torch.stack([torch.from_numpy(one).permute(2, 0, 1) for one in pixels])
        return results.view(*lead, *results.shape[1:]).to(device, dtype)

    return CallerImage(pictures, returned)
