"""Written files, read again by other libraries."""

import io

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from errors import UserError
from rendering.writing import FORMATS, Layout, format_of
from tests.rendering.corpus import levels
from tests.rendering.spoken import opened

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def written(ending, pixels, band=3, **options):
    format = format_of(f"x{ending}")
    height, width, channels = pixels.shape
    file = io.BytesIO()
    bands = (pixels[start : start + band] for start in range(0, height, band))
    format.write(file, Layout(height, width, channels, pixels.dtype, **options), bands)
    return file.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (7, 10), (300, 520)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png(channels, dtype, size):
    pixels = levels(*size, channels, dtype)
    got = imagecodecs.png_decode(written(".png", pixels, band=64))
    np.testing.assert_array_equal(got.reshape(pixels.shape), pixels)


@pytest.mark.parametrize("size", [(1, 1), (7, 10), (300, 520)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiff(channels, dtype, size):
    pixels = levels(*size, channels, dtype)
    with tifffile.TiffFile(io.BytesIO(written(".tif", pixels, band=100))) as file:
        np.testing.assert_array_equal(file.asarray().reshape(pixels.shape), pixels)
        assert file.pages[0].extrasamples == ((2,) if channels in (2, 4) else ())


def test_a_large_tiff_is_a_bigtiff():
    layout = Layout(50000, 50000, 3, np.dtype(np.uint8))

    class EnoughError(Exception):
        pass

    def bands():
        yield np.zeros((512, 50000, 3), np.uint8)
        raise EnoughError

    file = io.BytesIO()
    with pytest.raises(EnoughError):
        format_of("x.tif").write(file, layout, bands())
    assert file.getvalue()[:4] == b"II+\0"


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_pillow_reads_every_format(format):
    lossy = format.name in ("JPEG", "WEBP")
    for channels in format.channels:
        pixels = levels(20, 30, channels, np.uint8)
        with Image.open(io.BytesIO(written(format.endings[0], pixels, quality=100))) as image:
            assert image.format == format.name
            got = np.asarray(image, dtype=np.int64).reshape(pixels.shape)
        seen = pixels[..., -1:] > 0 if channels in (2, 4) else np.array(True)
        worst = np.abs((got - pixels) * seen).max()
        assert worst <= (80 if lossy else 0)
        assert np.abs((got - pixels) * seen).mean() <= (12 if lossy else 0)


@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg", ".webp"])
def test_the_colour_profile_is_kept(ending):
    data = written(ending, levels(8, 8, 3, np.uint8), icc=SRGB)
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == SRGB


def test_quality():
    pixels = levels(64, 64, 3, np.uint8)
    sizes = [len(written(".jpg", pixels, quality=quality)) for quality in (30, 60, 95)]
    assert sizes == sorted(set(sizes))


def test_endings():
    assert format_of("a/b.TIFF").name == "TIFF"
    with pytest.raises(UserError, match=r"x\.gif: cannot tell"):
        format_of("x.gif")


def test_lossless_webp(through):
    buffer = io.BytesIO()
    Image.fromarray(levels(20, 30, 4, np.uint8)).save(buffer, "PNG")
    exact = np.asarray(opened(through(buffer.getvalue(), "PNG")[0]))
    for lossless in (False, True):
        data, _ = through(buffer.getvalue(), "WEBP", lossless=lossless)
        assert np.array_equal(np.asarray(opened(data)), exact) == lossless
    with pytest.raises(UserError, match="JPEG always loses"):
        through(buffer.getvalue(), "JPEG", lossless=True)
