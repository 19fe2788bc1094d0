"""Small images of every mode and format, written with other libraries than those under test."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

PILLOW_MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "F"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("L", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
}
DEEP = {"LA16": (2, np.uint16), "RGB16": (3, np.uint16), "RGBA16": (4, np.uint16)}
DEEP_TIFF = {**DEEP, "RGBF": (3, np.float32), "RGBAF": (4, np.float32)}
ENDINGS = {"PNG": "png", "TIFF": "tif", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp"}


def levels(height: int, width: int, channels: int, dtype: type, seed: int = 0) -> np.ndarray:
    """A smooth picture with some noise, all alphas occurring, of the whole range."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [0.5 + 0.4 * np.sin(y / 3 + c) * np.cos(x / 4 - c) for c in range(channels)]
    picture = np.stack(waves, axis=-1) + rng.uniform(-0.1, 0.1, (height, width, channels))
    if dtype is np.float32:
        return picture.astype(np.float32)
    return np.rint(picture.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


def of_mode(mode: str, height: int, width: int) -> Image.Image:
    """A Pillow image of a mode."""
    if mode == "I;16":
        return Image.fromarray(levels(height, width, 1, np.uint16)[..., 0])
    if mode == "F":
        return Image.fromarray(levels(height, width, 1, np.float32)[..., 0])
    if mode in ("RGBA", "CMYK"):
        return Image.fromarray(
            levels(height, width, 4, np.uint8), mode="RGBA" if mode == "RGBA" else "CMYK"
        )
    if mode == "LA":
        return Image.fromarray(levels(height, width, 2, np.uint8))
    if mode == "LAB":
        return Image.fromarray(levels(height, width, 3, np.uint8), mode="LAB")
    rgb = Image.fromarray(levels(height, width, 3, np.uint8))
    return rgb if mode == "RGB" else rgb.convert(mode)


def files(height: int, width: int) -> dict[str, bytes]:
    """File name to content, for every mode of every format."""
    made = {}
    for format, modes in PILLOW_MODES.items():
        for mode in modes:
            buffer = io.BytesIO()
            of_mode(mode, height, width).save(buffer, format=format)
            made[f"{format}-{mode.replace(';', '')}.{ENDINGS[format]}"] = buffer.getvalue()
    for name, (channels, dtype) in DEEP.items():
        made[f"PNG-{name}.png"] = imagecodecs.png_encode(levels(height, width, channels, dtype))
    for name, (channels, dtype) in DEEP_TIFF.items():
        buffer = io.BytesIO()
        pixels = levels(height, width, channels, dtype)
        tifffile.imwrite(
            buffer,
            pixels,
            photometric="rgb" if channels >= 3 else "minisblack",
            planarconfig="contig",
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
        )
        made[f"TIFF-{name}.tif"] = buffer.getvalue()
    return made


def write_corpus(folder: Path, sizes: range, cuts: range) -> tuple[set[str], set[str]]:
    """Whole files and files cut after every tenth; the names of each."""
    whole, cut = set(), set()
    for height in sizes:
        for width in sizes:
            inside = folder / f"{height}x{width}"
            inside.mkdir(parents=True)
            for name, data in files(height, width).items():
                (inside / name).write_bytes(data)
                whole.add(f"{height}x{width}/{name}")
                for tenth in cuts:
                    stem, ending = name.rsplit(".", 1)
                    part = f"{stem}-cut{tenth}.{ending}"
                    (inside / part).write_bytes(data[: len(data) * tenth // 10])
                    cut.add(f"{height}x{width}/{part}")
    return whole, cut
