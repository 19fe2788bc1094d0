"""Kinds of TIFF against the pixels that tifffile was given; raws of cameras are refused."""

import io
import logging

import numpy as np
import pytest
import tifffile
from PIL import Image

from datasets.image_file import read_image
from errors import UserError
from rendering.reading import read_bytes
from tests.rendering.corpus import levels

SENSOR = 32803


def as_tiff(pixels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def read(data):
    return read_bytes(data, "x.tif")


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha", "unspecified"])
@pytest.mark.parametrize("colours", [1, 3])
def test_a_further_sample_of_8_bits(tmp_path, colours, extra, compression, planar):
    pixels = levels(17, 20, colours + 1, np.uint8)
    alpha = pixels[..., -1:]
    stored = pixels.copy()
    if extra == "assocalpha":
        stored[..., :-1] = np.rint(pixels[..., :-1] * (alpha / 255))
    data = as_tiff(
        stored if planar == "contig" else np.moveaxis(stored, -1, 0),
        photometric="rgb" if colours == 3 else "minisblack",
        planarconfig=planar,
        compression=compression,
        extrasamples=[extra],
    )
    picture = read(data)
    assert picture.pixels.dtype == np.uint8
    if extra == "unspecified":
        np.testing.assert_array_equal(picture.pixels, pixels[..., :-1])
        assert picture.notes == ("1 further channels are left out",)
        return
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.pixels[..., -1:], alpha)
    # Rounded when they were multiplied: half a level, divided by the alpha.
    allowed = 0 if extra == "unassalpha" else np.ceil(255 / np.maximum(alpha, 1) / 2)
    off = np.abs(picture.pixels[..., :-1].astype(int) - pixels[..., :-1])
    assert np.all((off <= allowed) | (alpha == 0))
    (tmp_path / "x.tif").write_bytes(data)
    trained = read_image(tmp_path / "x.tif")
    np.testing.assert_array_equal(trained, picture.pixels[..., :-1].repeat(4 - colours, 2)[..., :3])


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "rgb"])
@pytest.mark.parametrize(
    "options", [{}, {"tile": (16, 16)}, {"predictor": True}, {"bigtiff": True}]
)
def test_8_bits_are_those_of_pillow(photometric, options):
    pixels = levels(33, 20, 3, np.uint8) if photometric == "rgb" else levels(33, 20, 1, np.uint8)
    pixels = pixels if photometric == "rgb" else pixels[..., 0]
    data = as_tiff(pixels, photometric=photometric, compression="zlib", **options)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(read(data).pixels.squeeze(), np.asarray(image))


def test_signed_8_bits_are_refused():
    for pixels in (np.array([[-3, 5]], np.int8), np.array([[0, 5]], np.int8)):
        with pytest.raises(UserError, match=r"signed 8-bit pixels .* save it as unsigned 8 bits"):
            read(as_tiff(pixels, photometric="minisblack"))


def raw(**options):
    """A preview, and within its page what the sensor saw."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(
            levels(24, 32, 3, np.uint8), photometric="rgb", subifds=1, metadata=None, **options
        )
        mosaic = levels(96, 128, 1, np.uint16)[..., 0]
        writer.write(mosaic, photometric=SENSOR, subfiletype=0, metadata=None)
    return buffer.getvalue()


def dng():
    version = (50706, "B", 4, b"\1\4\0\0", True)
    return as_tiff(levels(24, 32, 3, np.uint8), photometric="rgb", extratags=[version])


def cr2():
    """Its header is marked between that of a TIFF and the first page."""
    data = bytearray(as_tiff(levels(24, 32, 3, np.uint8), photometric="rgb"))
    assert data[4:8] == b"\x08\0\0\0"
    entries = int.from_bytes(data[8:10], "little")
    size = 2 + 12 * entries + 4
    start = len(data)
    return (
        bytes(data[:4])
        + start.to_bytes(4, "little")
        + b"CR\2\0"
        + bytes(data[12:])
        + bytes(data[8 : 8 + size])
    )


def second_page():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(levels(24, 32, 3, np.uint8), photometric="rgb", metadata=None)
        writer.write(levels(96, 128, 1, np.uint16)[..., 0], photometric=SENSOR, metadata=None)
    return buffer.getvalue()


@pytest.mark.parametrize("make", [raw, dng, cr2, second_page])
def test_raws_are_refused(tmp_path, make):
    (tmp_path / "x.dng").write_bytes(make())
    with pytest.raises(UserError, match="the raw of a camera; develop it first"):
        read(make())
    with pytest.raises(UserError, match="the raw of a camera"):
        read_image(tmp_path / "x.dng")


def test_only_our_own_reading_is_silent(caplog):
    """Damage that tifffile logs; the level and the handlers of its log stay as they are."""
    logger = logging.getLogger("tifffile")
    before = logger.level, logger.handlers[:], logger.disabled
    data = as_tiff(levels(8, 8, 3, np.uint8), photometric="rgb", software="x" * 50)
    damaged = data.replace((305).to_bytes(2, "little") + b"\2\0", b"\x31\1\xee\0")
    assert damaged != data
    read(damaged)
    assert not caplog.records
    assert (logger.level, logger.handlers, logger.disabled) == before
    with tifffile.TiffFile(io.BytesIO(damaged)) as file:
        assert file.pages[0].tags
    assert caplog.records


def test_pyramids_are_read():
    """Smaller forms of the same picture, in pages within the first one, as of OME-TIFF."""
    pixels = levels(64, 64, 3, np.uint8)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, ome=True) as writer:
        writer.write(pixels, photometric="rgb", subifds=2, tile=(16, 16))
        for step in (2, 4):
            writer.write(pixels[::step, ::step], photometric="rgb", subfiletype=1, tile=(16, 16))
    picture = read(buffer.getvalue())
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.notes == ()
