"""Carry the metadata of a Pillow image over to an image made from it."""

from __future__ import annotations

from typing import Any

from PIL import Image

from rendering.metadata.parts import Metadata, Room, carried
from rendering.metadata.photoshop import IPTC
from rendering.metadata.reading import image_metadata

IMAGE = Room("a Pillow image", ("EXIF", "XMP", "IPTC", "density", "texts"))


def kept_info(
    image: Image.Image,
    size: tuple[int, int],
    factors: tuple[float, float] | None = None,
    dpi: float | None = None,
) -> tuple[dict[Any, Any], list[str]]:
    """Make the `info` of an image that was turned upright and resized.

    Its entries have Pillow's names, so that they can be passed to `Image.save`: "exif", "xmp",
    "comment", "dpi", "photoshop", and each text under its keyword.

    Args:
        image: The input.
        size: (height, width) of the output, in pixels.
        factors, dpi: See `carried`.

    Returns:
        The entries, and a note for each part that is lost.
    """
    found = image_metadata(image) or Metadata()
    metadata, notes = carried(found, IMAGE, size, factors, dpi)
    info: dict[Any, Any] = {
        "exif": metadata.exif and b"Exif\0\0" + metadata.exif,
        "xmp": metadata.xmp,
        "dpi": metadata.dpi,
        "photoshop": metadata.iptc and {IPTC: metadata.iptc, **dict(metadata.resources)},
    }
    for keyword, text, *_ in metadata.texts:
        if keyword == "Comment":
            info["comment"] = text.encode()
        else:
            info[keyword] = text
    return {name: part for name, part in info.items() if part}, notes
