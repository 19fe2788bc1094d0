"""Kinds of files beside PNG, JPEG, TIFF and WebP: those of phones, and old ones."""

import io
import sys

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageOps

from datasets.png import png_chunk
from errors import UserError
from rendering import kinds
from rendering.reading import ENDINGS, read_bytes
from tests.rendering.corpus import levels, of_mode

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SMOOTH = np.stack(np.broadcast_arrays(*np.mgrid[0:200:5, 0:240:6], 90), -1).astype(np.uint8)


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def heic(pixels, mode, **options):
    height, width = pixels.shape[:2]
    file = pillow_heif.from_bytes(mode, (width, height), pixels.tobytes())
    exif = options.pop("exif", None)
    if exif:
        file[0].info["exif"] = exif
    buffer = io.BytesIO()
    file.save(buffer, quality=-1, chroma=444, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("format", "mode"),
    [("GIF", "P"), ("TGA", "RGBA"), ("TGA", "L"), ("PPM", "1"), ("PPM", "L")],
)
def test_old_formats(format, mode):
    image = of_mode(mode, 9, 14)
    picture = read_bytes(encoded(image, format), f"x.{format.lower()}")
    shown = image.convert({"1": "L", "P": "RGB"}.get(mode, mode))
    np.testing.assert_array_equal(picture.pixels.squeeze(), np.asarray(shown))
    assert picture.notes == ()


def test_of_a_gif_the_first_frame_and_its_transparency():
    frames = [of_mode("P", 16, 16), of_mode("P", 16, 16).rotate(90)]
    frames[0].info["transparency"] = frames[0].getpixel((2, 3))
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    picture = read_bytes(data, "x.gif")
    assert picture.notes == ("2 frames: only the first is rendered",)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGBA")))
    assert picture.pixels[3, 2, 3] == 0


@pytest.mark.parametrize(
    ("mode", "shape"), [("L", (40, 40)), ("RGB", (40, 40, 3)), ("RGBA", (40, 40, 4))]
)
@pytest.mark.parametrize("deep", [False, True])
def test_heic(mode, shape, deep):
    pixels = np.dstack([SMOOTH, SMOOTH[..., 0]])[..., : 1 if mode == "L" else shape[2]]
    wanted = pixels.astype(np.uint16) * 257 if deep else pixels
    name = {"L": "I;16"}.get(mode, f"{mode};16") if deep else mode
    picture = read_bytes(heic(wanted, name), "IMG_1.HEIC")
    assert picture.pixels.dtype == wanted.dtype
    # 8 bits of YCbCr lose a level or two, ten bits less.
    allowed = 257 if deep else 3
    assert np.abs(picture.pixels.astype(int) - wanted).max() <= allowed
    assert picture.notes == () and picture.icc is None


def test_white_of_a_deep_heic_is_white():
    picture = read_bytes(heic(np.full((40, 40), 65535, np.uint16), "I;16"), "x.heic")
    assert (picture.pixels == 65535).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["HEIC", "AVIF", "JPEG"])
def test_orientation_is_applied_once(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = Image.open(io.BytesIO(encoded(Image.fromarray(SMOOTH), "PNG", exif=exif)))
    upright = np.asarray(ImageOps.exif_transpose(shown)).astype(int)
    if format == "HEIC":
        data = heic(SMOOTH, "RGB", exif=exif.tobytes())
        assert (b"irot" in data or b"imir" in data) == (orientation > 1)
    else:
        data = encoded(Image.fromarray(SMOOTH), format, exif=exif, quality=95)
    got = read_bytes(data, "x").pixels
    assert got.shape == upright.shape
    assert np.abs(got - upright).mean() < 2


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_avif(bits):
    levels = np.linspace(0, 2**bits - 1, 48).astype(np.uint16)
    pixels = np.broadcast_to(levels[:, None], (48, 40))
    data = imagecodecs.avif_encode(np.ascontiguousarray(pixels), bitspersample=bits, level=100)
    picture = read_bytes(data, "x.avif")
    assert picture.pixels.dtype == np.uint16
    wanted = np.rint(pixels / (2**bits - 1) * 65535)
    assert np.abs(picture.pixels[..., 0] - wanted).max() <= 65535 / (2**bits - 1) * 2


def test_the_orientation_of_a_deep_avif(monkeypatch):
    """One of 8 bits, taken for one of 10: no encoder here turns deep ones."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(SMOOTH), "AVIF", exif=exif, quality=95)
    shown = read_bytes(data, "x").pixels
    monkeypatch.setattr(kinds, "_avif_bits", lambda data: 10)
    got = read_bytes(data, "x").pixels * (1023 / 65535)
    assert np.abs(np.rint(got) - shown).max() <= 1
    assert shown[0, 0, 0] > shown[0, -1, 0]  # the first column is what was below


def test_the_profile_of_heic_and_avif():
    image = Image.fromarray(SMOOTH)
    assert read_bytes(encoded(image, "AVIF", icc_profile=SRGB), "x.avif").icc == SRGB
    file = pillow_heif.from_pillow(image)
    file[0].info["icc_profile"] = SRGB
    buffer = io.BytesIO()
    file.save(buffer)
    assert read_bytes(buffer.getvalue(), "x.heic").icc == SRGB


def test_heic_without_the_package(monkeypatch):
    data = heic(SMOOTH, "RGB")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"x\.heic: .*pip install pillow-heif"):
        read_bytes(data, "x.heic")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_jpeg_xl(channels, dtype):
    pixels = levels(19, 33, channels, dtype)
    squeezed = pixels.squeeze(2) if channels == 1 else pixels
    data = imagecodecs.jpegxl_encode(squeezed, lossless=True)
    picture = read_bytes(data, "x.jxl")
    assert picture.notes == ()
    # imagecodecs has more than 8 bits marked as linear, with the primaries of sRGB.
    linear = png_chunk(b"cICP", bytes([1, 8, 0, 1]))
    assert picture.cicp == (None if dtype is np.uint8 else linear)
    assert (picture.icc is None) == (dtype is np.uint8)
    assert picture.pixels.dtype == dtype
    np.testing.assert_array_equal(picture.pixels, pixels)
    with pytest.raises(UserError, match="19x33 pixels are more than the 626 allowed"):
        read_bytes(data, "x.jxl", 626)


@pytest.mark.parametrize("shape", [(8, 8), (256, 100), (108, 192), (75, 100), (7, 5000)])
@pytest.mark.parametrize("boxed", [False, True])
def test_the_size_in_a_jpeg_xl(shape, boxed):
    data = imagecodecs.jpegxl_encode(np.zeros(shape, np.uint8), usecontainer=boxed)
    size = f"{shape[0]}x{shape[1]} pixels are more"
    with pytest.raises(UserError, match=size):
        read_bytes(data, "x.jxl", shape[0] * shape[1] - 1)
    assert read_bytes(data, "x.jxl").size == shape


def test_what_is_cut_is_refused():
    """After every tenth: the name and a reason, in one line."""
    image = Image.fromarray(SMOOTH)
    whole = {
        "x.heic": heic(SMOOTH, "RGB"),
        "x.avif": encoded(image, "AVIF"),
        "y.avif": imagecodecs.avif_encode(SMOOTH.astype(np.uint16) * 4, bitspersample=10),
        "x.jxl": imagecodecs.jpegxl_encode(SMOOTH, lossless=True),
        "y.jxl": imagecodecs.jpegxl_encode(SMOOTH, usecontainer=True),
        "x.gif": encoded(image, "GIF"),
        "x.tga": encoded(image, "TGA"),
    }
    for name, data in whole.items():
        for tenth in range(10):
            with pytest.raises(UserError, match=rf"^{name}: ") as error:
                read_bytes(data[: len(data) * tenth // 10], name)
            assert "\n" not in str(error.value)


def test_further_pictures_of_a_mpo():
    images = [Image.fromarray(levels(16, 16, 3, np.uint8, seed)) for seed in range(2)]
    data = encoded(images[0], "MPO", save_all=True, append_images=images[1:])
    picture = read_bytes(data, "x.jpg")
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(picture.pixels, np.asarray(image))
    assert picture.notes == ()


@pytest.mark.parametrize(
    "mark", [b"http://ns.adobe.com/hdr-gain-map/1.0/", b"urn:iso:std:iso:ts:21496:-1\0"]
)
def test_a_gain_map_is_told(mark):
    """An Ultra HDR JPEG: the base, of which an APP segment tells, and the map after its end."""
    image = Image.fromarray(SMOOTH)
    base, gain = encoded(image, "JPEG"), encoded(image.convert("L"), "JPEG")
    told = b"\xff\xe2" + (len(mark) + 2).to_bytes(2, "big") + mark
    picture = read_bytes(base[:2] + told + base[2:] + gain, "x.jpg")
    with Image.open(io.BytesIO(base)) as shown:
        np.testing.assert_array_equal(picture.pixels, np.asarray(shown))
    assert picture.notes == (
        "its gain map, which makes it HDR, is left out: the base image is rendered",
    )
    assert read_bytes(base, "x.jpg").notes == ()


def test_a_gain_map_of_apple_is_told():
    mark = b"urn:com:apple:photo:2020:aux:hdrgainmap\0"
    box = (len(mark) + 8).to_bytes(4, "big") + b"free" + mark
    notes = read_bytes(heic(SMOOTH, "RGB") + box, "x.heic").notes
    assert [note[:12] for note in notes] == ["its gain map"]


def test_further_images_of_a_heic():
    file = pillow_heif.from_pillow(Image.fromarray(SMOOTH))
    file.add_from_pillow(Image.fromarray(255 - SMOOTH))
    buffer = io.BytesIO()
    file.save(buffer, quality=-1, chroma=444, primary_index=1)
    picture = read_bytes(buffer.getvalue(), "x.heic")
    assert np.abs(picture.pixels.astype(int) - (255 - SMOOTH)).max() <= 3
    assert picture.notes == ("1 further images are left out",)


def test_raws_are_named():
    starts = (b"FUJIFILMCCD-RAW ", b"IIRO", b"IIU\0", b"\0\0\0\x18ftypcrx ")
    for start, name in [*((start, "-") for start in starts), (b"", "x.CR3"), (b"", "x.raf")]:
        with pytest.raises(UserError, match="the raw of a camera; develop it first"):
            read_bytes(start + bytes(500), name)
    with pytest.raises(UserError, match="not an image of PNG"):
        read_bytes(bytes(500), "-")


def test_endings():
    assert {".heic", ".avif", ".jfif", ".gif", ".pbm", ".tga", ".jxl", ".jpg"} <= ENDINGS
    assert all(ending == ending.lower() and ending[0] == "." for ending in ENDINGS)
