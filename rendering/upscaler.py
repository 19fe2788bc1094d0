"""Rendering from Python: one call for paths, Pillow images, arrays and tensors."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from configs.command import DEFAULT_MODEL, first_line
from configs.spec import UserError
from models.checkpoint import load_model
from rendering.grid import MAX_PIXELS, Region
from rendering.job import Wanted, render_file
from rendering.picture import Picture
from rendering.reading import from_pillow, read_picture
from rendering.tiles import Renderer

Kind = TypeVar("Kind", str, Path, Image.Image, np.ndarray, Tensor)


def load(name: str | Path = DEFAULT_MODEL, device: str | torch.device | None = None) -> Upscaler:
    """An upscaler.

    Args:
        name: A checkpoint file; the name of one in weights/; or ``bicubic``.
        device: The first GPU if None, or the CPU without one.

    Raises:
        UserError: If the checkpoint is missing, damaged or of other code.
    """
    model, norm = load_model(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return Upscaler(Renderer(model.to(device), norm))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {device}: {first_line(error)}") from None


class Upscaler:
    """Renders images at any size; see `load`."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer

    def upscale(
        self,
        image: Kind,
        scale: float | Sequence[float] | None = None,
        size: tuple[int, int] | None = None,
        long_side: int | None = None,
        region: Sequence[float] | None = None,
        output: str | Path | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> Kind:
        """Render an image at another size, given in exactly one of three ways.

        Args:
            image: A path; a Pillow image; an array (h, w) or (h, w, C) or a tensor (..., C, h, w)
                of uint8, uint16, or floats where 1 is white. C = 1: gray, 2: gray and alpha,
                3: RGB, 4: RGB and alpha.
            scale: Factor, or those of rows and columns.
            size: (H, W).
            long_side: Of the result, in pixels; the other is in proportion.
            region: (top, left, height, width) to render, in pixels of the image.
            output: Of a path: the file to write. The default is beside it, with the size in its
                name.
            max_pixels: Largest result.

        Returns:
            What was given: a path for a path, an array for an array, of the same type.

        Raises:
            UserError: If the image or the size cannot be.
        """
        if sum(way is not None for way in (scale, size, long_side)) != 1:
            raise UserError("give exactly one of scale, size and long_side")
        single = scale is not None and not isinstance(scale, (tuple, list))
        wanted = Wanted(
            _numbers("scale", (scale, scale) if single else scale, float, 2),
            _numbers("size", size, operator.index, 2),
            None if long_side is None else _numbers("long_side", [long_side], operator.index, 1)[0],
            None if region is None else Region(*_numbers("region", region, float, 4)),
            max_pixels,
        )
        if isinstance(image, (str, Path)):
            written = self._path(Path(image), output, wanted)
            return str(written) if isinstance(image, str) else written  # type: ignore[return-value]
        if isinstance(image, Image.Image):
            return self._pillow(image, wanted)
        if isinstance(image, np.ndarray):
            return self._array(image, wanted)
        if isinstance(image, Tensor):
            return self._tensor(image, wanted)
        raise UserError(f"cannot render a {type(image).__name__}")

    def _path(self, source: Path, output: str | Path | None, wanted: Wanted) -> Path:
        if output is None:
            rows, cols = wanted.grid(read_picture(source).size)
            output = source.with_name(f"{source.stem}-{len(rows)}x{len(cols)}{source.suffix}")
        _warn(render_file(self.renderer, source, output, wanted).notes)
        return Path(output)

    def _pixels(self, picture: Picture, wanted: Wanted) -> np.ndarray:
        rows, cols = wanted.grid(picture.size)
        _warn((*picture.notes, *self.renderer.notes(picture)))
        dtype = picture.pixels.dtype
        bands = self.renderer.render(picture, rows, cols)
        return np.concatenate([picture.rows(band, picture.channels, dtype) for band in bands])

    def _pillow(self, image: Image.Image, wanted: Wanted) -> Image.Image:
        try:
            picture = from_pillow(image)
        except (ValueError, OSError) as error:
            raise UserError(f"cannot render this image: {error}") from None
        pixels = self._pixels(picture, wanted)
        result = Image.fromarray(pixels.squeeze(2) if picture.channels == 1 else pixels)
        if picture.icc:
            result.info["icc_profile"] = picture.icc
        return result

    def _array(self, image: np.ndarray, wanted: Wanted) -> np.ndarray:
        pixels = image[..., None] if image.ndim == 2 else image
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or not pixels.size:
            raise UserError(f"an array (h, w) or (h, w, 1 to 4) is wanted, got {image.shape}")
        if pixels.dtype.kind == "f":
            pixels = pixels.astype(np.float32)
            if not np.isfinite(pixels).all():
                raise UserError("the array has values that are not finite")
        elif pixels.dtype not in (np.uint8, np.uint16):
            raise UserError(f"uint8, uint16 or floats are wanted, got {image.dtype}")
        result = self._pixels(Picture(pixels), wanted).astype(image.dtype, copy=False)
        return result.squeeze(2) if image.ndim == 2 else result

    def _tensor(self, image: Tensor, wanted: Wanted) -> Tensor:
        if image.ndim < 3:
            raise UserError(f"a tensor (..., C, h, w) is wanted, got {tuple(image.shape)}")
        if not image.numel():
            raise UserError(f"a tensor with pixels is wanted, got {tuple(image.shape)}")
        host = image.detach().cpu()
        if host.dtype == torch.bfloat16:  # numpy has none
            host = host.float()
        results = [
            torch.from_numpy(self._array(one.permute(1, 2, 0).numpy(), wanted)).permute(2, 0, 1)
            for one in host.reshape(-1, *image.shape[-3:])
        ]
        return torch.stack(results).view(*image.shape[:-3], *results[0].shape).to(image)


def _numbers(name: str, values: Any, convert: Callable[[Any], Any], count: int) -> Any:
    """So many numbers of a kind; None stays None."""
    if values is None:
        return None
    try:
        numbers = tuple(convert(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise UserError(f"{name}: expected {count} numbers, got {values!r}")
    return numbers


def _warn(notes: tuple[str, ...]) -> None:
    for note in notes:
        warnings.warn(note, stacklevel=4)
