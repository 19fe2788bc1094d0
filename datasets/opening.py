"""Open images with Pillow, without changing anything that other threads see."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO

from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from cli.command import first_line

MAX_PIXELS = 2**28  # larger images are treated as decompression bombs


class TooLargeError(ValueError):
    """The error of an image with more pixels than allowed."""


def check_size(size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> None:
    """Raise a `TooLargeError` if an image (width, height) has more pixels than allowed."""
    if size[0] * size[1] > max_pixels:
        raise TooLargeError(f"{size[1]}x{size[0]} pixels are more than the {max_pixels} allowed")


def open_image(
    file: BinaryIO, formats: Sequence[str], max_pixels: int = MAX_PIXELS
) -> ImageFile.ImageFile:
    """Open an image like `PIL.Image.open`, but with its own check of the size.

    Pillow warns about more than ``PIL.Image.MAX_IMAGE_PIXELS`` pixels and refuses twice as many.
    This limit, and the filters of warnings, belong to the process: changing them for one file would
    change them for all threads. So the formats are tried here, the way Pillow tries them.

    Raises:
        UnidentifiedImageError: If the image is in none of the formats.
        TooLargeError: If it has too many pixels.
    """
    Image.preinit()
    prefix = file.read(16)
    for name in formats:
        if name not in Image.OPEN:
            Image.init()
        if name not in Image.OPEN:  # Pillow was built without it
            continue
        factory, accepts = Image.OPEN[name]
        if accepts is not None and accepts(prefix) is not True:  # a string says why it cannot
            continue
        file.seek(0)
        try:
            image = factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # it is of another format
            continue
        except Image.DecompressionBombError:  # some formats check Pillow's limit themselves
            raise ValueError(f"{name} of so many pixels is not supported") from None
        check_size(image.size, max_pixels)
        return image
    raise UnidentifiedImageError(f"not an image of {', '.join(formats)}")


def reason_of(error: Exception) -> str:
    """Return in one line what a decoder or the system says about a file."""
    return getattr(error, "strerror", None) or first_line(error)


def load(image: Image.Image) -> None:
    """Decode an image of `open_image`; allocates a TIFF here, else Pillow would check its size."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tile:
        image.im = Image.core.new(image.mode, image._tile_size)  # type: ignore[attr-defined]
    image.load()
