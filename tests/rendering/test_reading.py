"""One test per kind of image: what is read, against the pixels that were written."""

import io
import os
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from errors import UserError
from rendering.reading import from_pillow, read_picture
from tests.rendering.corpus import levels, of_mode

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def read(tmp_path):
    def from_data(data, name="x.png"):
        (tmp_path / name).write_bytes(data)
        return read_picture(tmp_path / name)

    return from_data


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def as_tiff(pixels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def png(*chunks):
    """A PNG of chunks (kind, data)."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        parts.append(struct.pack(">I", len(data)) + kind + data + checksum)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("mode", "format", "channels", "dtype"),
    [
        ("1", "PNG", 1, np.uint8),
        ("L", "PNG", 1, np.uint8),
        ("LA", "PNG", 2, np.uint8),
        ("P", "PNG", 3, np.uint8),
        ("RGB", "PNG", 3, np.uint8),
        ("RGBA", "PNG", 4, np.uint8),
        ("I;16", "PNG", 1, np.uint16),
        ("I;16", "TIFF", 1, np.uint16),
        ("F", "TIFF", 1, np.float32),
        ("1", "TIFF", 1, np.uint8),
        ("RGBA", "TIFF", 4, np.uint8),
        ("YCbCr", "TIFF", 3, np.uint8),
        ("RGBA", "WEBP", 4, np.uint8),
        ("RGB", "BMP", 3, np.uint8),
        ("L", "JPEG", 1, np.uint8),
        ("RGB", "JPEG", 3, np.uint8),
    ],
)
def test_modes(read, mode, format, channels, dtype):
    image = of_mode(mode, 9, 14)
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    data = encoded(image, format, **options)
    picture = read(data)
    assert picture.pixels.shape == (9, 14, channels)
    assert picture.pixels.dtype == dtype
    with Image.open(io.BytesIO(data)) as again:  # of JPEG, too, the very same
        shown = (
            again.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels])
            if dtype is np.uint8
            else again
        )
        wanted = np.asarray(shown).reshape(picture.pixels.shape)
    np.testing.assert_array_equal(picture.pixels, wanted)
    assert picture.notes == ()


def test_every_mode_of_pillow():
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA"):
        assert from_pillow(Image.new(mode, (3, 2))).size == (2, 3), mode


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_few_of_16_bits_have_the_whole_range(read, bits):
    white = 2**bits - 1
    data = as_tiff(np.array([[0, white]], np.uint16), bitspersample=bits, photometric="minisblack")
    assert read(data, "x.tif").pixels.flatten().tolist() == [0, 65535]


@pytest.mark.parametrize("bits", [1, 2, 4, 16])
def test_a_transparent_level_of_gray(read, bits):
    """A row of the levels 0 and 1 of so many bits, of which 1 is transparent."""
    row = struct.pack(">HH", 0, 1) if bits == 16 else bytes([1 << (8 - 2 * bits)])
    header = struct.pack(">IIBBBBB", 2, 1, bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", struct.pack(">H", 1))]
    picture = read(png(*chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")))
    white = 65535 if bits == 16 else 255
    level = 1 if bits == 16 else round(255 / (2**bits - 1))
    assert picture.pixels.tolist() == [[[0, white], [level, 0]]]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits(read, channels):
    pixels = levels(6, 7, channels, np.uint16)
    np.testing.assert_array_equal(read(imagecodecs.png_encode(pixels)).pixels, pixels)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("channels", [3, 4])
def test_deep_tiff(read, channels, dtype, compression, planar):
    pixels = levels(16, 17, channels, dtype)
    given = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    extra = ["unassalpha"] if channels == 4 else None
    data = as_tiff(
        given, photometric="rgb", planarconfig=planar, compression=compression, extrasamples=extra
    )
    np.testing.assert_array_equal(read(data, "x.tif").pixels, pixels)


def test_big_endian_and_bigtiff(read):
    pixels = levels(5, 6, 3, np.uint16)
    for options in ({"byteorder": ">"}, {"bigtiff": True}):
        data = as_tiff(pixels, photometric="rgb", **options)
        np.testing.assert_array_equal(read(data, "x.tif").pixels, pixels)


def test_white_is_zero(read):
    pixels = levels(5, 6, 1, np.uint16)[..., 0]
    data = as_tiff(65535 - pixels, photometric="miniswhite")
    np.testing.assert_array_equal(read(data, "x.tif").pixels[..., 0], pixels)


def test_colours_multiplied_by_their_alpha(read):
    pixels = levels(9, 9, 4, np.float32).clip(0.2, 1)
    stored = pixels.copy()
    stored[..., :3] *= stored[..., 3:]
    data = as_tiff(stored, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_allclose(read(data, "x.tif").pixels, pixels, rtol=1e-6)


def test_double_floats_become_single(read):
    pixels = levels(5, 6, 3, np.float32).astype(np.float64)
    got = read(as_tiff(pixels, photometric="rgb"), "x.tif").pixels
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, pixels.astype(np.float32))


def test_further_channels_are_told(read):
    pixels = levels(5, 6, 4, np.uint16)
    data = as_tiff(pixels, photometric="rgb", extrasamples=["unspecified"])
    picture = read(data, "x.tif")
    np.testing.assert_array_equal(picture.pixels, pixels[..., :3])
    assert picture.notes == ("1 further channels are left out",)


def test_a_palette_with_transparency(read):
    rgba = levels(8, 8, 4, np.uint8)
    rgba[..., 3] = np.where(rgba[..., 3] > 128, 255, 0)
    palette = Image.fromarray(rgba).quantize(16)
    data = encoded(palette, transparency=palette.getpixel((0, 0)))
    picture = read(data)
    assert picture.channels == 4
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGBA")))
    assert not picture.opaque


def test_one_transparent_colour(read):
    gray = Image.fromarray(levels(8, 8, 1, np.uint8)[..., 0])
    level = gray.getpixel((3, 3))
    picture = read(encoded(gray, transparency=level))
    np.testing.assert_array_equal(picture.pixels[..., 0], np.asarray(gray))
    np.testing.assert_array_equal(picture.pixels[..., 1] == 0, np.asarray(gray) == level)


def test_cmyk_by_its_profile_or_plainly(read):
    image = of_mode("CMYK", 8, 9)
    picture = read(encoded(image, "TIFF"), "x.tif")
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert "without a usable profile" in picture.notes[0]
    # The profile of another kind of colours is not usable either.
    assert read(encoded(image, "TIFF", icc_profile=SRGB), "y.tif").icc is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_orientation(read, orientation, deep):
    pixels = levels(5, 8, 3, np.uint16 if deep else np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = Image.fromarray((pixels / 257 if deep else pixels).astype(np.uint8))
    upright = np.asarray(ImageOps.exif_transpose(_with_exif(shown, exif)))
    if deep:
        data = as_tiff(pixels, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
        got = (read(data, "x.tif").pixels / 257).astype(np.uint8)
    else:
        got = read(encoded(shown, exif=exif)).pixels
    np.testing.assert_array_equal(got, upright)


def _with_exif(image, exif):
    return Image.open(io.BytesIO(encoded(image, exif=exif)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_deep_png(read, orientation):
    pixels = levels(5, 8, 3, np.uint16)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = imagecodecs.png_encode(pixels)
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    checksum = struct.pack(">I", zlib.crc32(b"eXIf" + body))
    end = data.index(b"IDAT") - 4
    data = data[:end] + struct.pack(">I", len(body)) + b"eXIf" + body + checksum + data[end:]
    small = (pixels >> 8).astype(np.uint8)
    upright = np.asarray(ImageOps.exif_transpose(_with_exif(Image.fromarray(small), exif)))
    np.testing.assert_array_equal(read(data).pixels >> 8, upright)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_the_colour_profile(read, format):
    data = encoded(of_mode("RGB", 8, 8), format, icc_profile=SRGB)
    assert read(data).icc == SRGB


def test_the_colour_profile_of_a_deep_tiff(read):
    data = as_tiff(levels(4, 4, 3, np.uint16), photometric="rgb", iccprofile=SRGB)
    assert read(data, "x.tif").icc == SRGB


@pytest.mark.parametrize("format", ["WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame(read, format):
    frames = [Image.fromarray(levels(16, 16, 3, np.uint8, seed)) for seed in range(3)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    picture = read(data)
    np.testing.assert_array_equal(picture.pixels[..., :3], np.asarray(frames[0]))
    assert picture.notes == ("3 frames: only the first is rendered",)


def bomb():
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return png((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"P6 1 1 65535 abcdef", "16-bit PPM"),
        (
            as_tiff(np.zeros((2, 2, 20), np.uint16), photometric="rgb", planarconfig="contig"),
            "20 c",
        ),
        (b"hello", "not an image of PNG, JPEG"),
        (b"GIF89a" + bytes(50), "not an image of PNG, JPEG"),
        (bomb(), "60000x60000 pixels are more than the 268435456 allowed: see --max-input-pixels"),
        (as_tiff(np.full((4, 4), np.nan, np.float32)), "not finite"),
        (as_tiff(np.full((4, 4), 2**20, np.uint32)), "no agreed range"),
        (as_tiff(np.zeros((4, 4, 4), np.uint16), photometric="separated"), "not supported"),
        (encoded(of_mode("RGB", 30, 30))[:-12], "truncated"),
    ],
)
def test_what_is_no_picture(read, data, message):
    with pytest.raises(UserError, match=message) as error:
        read(data, "größe 1.png")
    assert "größe 1.png" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_cannot_be_opened(tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("none.png", "loop.png", ".", "pipe.png"):
        with pytest.raises(UserError, match=r"no such image|cannot be read|is no file"):
            read_picture(tmp_path / name)
