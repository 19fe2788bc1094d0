"""Colours that a file gives in numbers: the profiles made of them, shown by littleCMS."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from datasets.png import PNG, png_chunk
from models import make
from rendering.job import Wanted, fit, render_file
from rendering.picture import Picture
from rendering.reading import from_pillow, read_bytes, read_picture
from rendering.tiles import Renderer
from rendering.writing import format_of
from tests.rendering.corpus import levels

SRGB_CHRM = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
ADOBE_CHRM = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
P3_CHRM = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
# Of the specifications: Adobe RGB (1998), 4.3.5.3; sRGB, IEC 61966-2-1, to XYZ under D65.
ADOBE_TO_XYZ = [
    [0.57667, 0.18556, 0.18823],
    [0.29734, 0.62736, 0.07529],
    [0.02703, 0.07069, 0.99134],
]
SRGB_TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
# SMPTE EG 432-1, with the white of D65.
P3_TO_XYZ = [[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929], [0, 0.04511, 1.04394]]
LEVELS = np.array(
    [[40, 40, 40], [255, 255, 255], [200, 120, 90], [90, 130, 160], [120, 160, 110], [0, 0, 0]],
    np.uint8,
)


def png(colour=2, *chunks, pixels=LEVELS):
    """A PNG of one row with chunks before its pixels."""
    row = pixels if colour == 2 else pixels[:, 0]
    header = struct.pack(">IIBBBBB", len(row), 1, 8, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"\0" + row.tobytes()))]
    return PNG + b"".join(png_chunk(*part) for part in [*parts, (b"IEND", b"")])


def gama(value):
    return b"gAMA", struct.pack(">I", value)


def chrm(values):
    return b"cHRM", struct.pack(">8I", *values)


def encode_srgb(light):
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255


def in_srgb(profile, pixels=LEVELS):
    """Shown in sRGB by littleCMS, relative to the white."""
    mode = "RGB" if pixels.ndim == 2 else "L"
    image = Image.fromarray(pixels[None])
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    return np.asarray(ImageCms.applyTransform(image, transform))[0].astype(float)


@pytest.mark.parametrize(
    ("chunks", "exponent", "matrix"),
    [
        ([gama(45455), chrm(ADOBE_CHRM)], 2.2, ADOBE_TO_XYZ),
        ([gama(100000), chrm(SRGB_CHRM)], 1.0, SRGB_TO_XYZ),
        ([gama(100000)], 1.0, SRGB_TO_XYZ),
        ([gama(55556)], 1.8, SRGB_TO_XYZ),
        ([gama(38462), chrm(P3_CHRM)], 2.6, P3_TO_XYZ),
    ],
)
def test_gamma_and_primaries(chunks, exponent, matrix):
    picture = read_bytes(png(2, *chunks), "x.png")
    np.testing.assert_array_equal(picture.pixels[0], LEVELS)
    light = (LEVELS / 255) ** exponent
    wanted = encode_srgb(light @ np.array(matrix).T @ np.linalg.inv(SRGB_TO_XYZ).T)
    assert np.abs(in_srgb(picture.icc) - wanted).max() <= 1.5


def test_a_pillow_image_says_the_same():
    for chunks in ([gama(100000)], [gama(45455), chrm(ADOBE_CHRM)], [gama(45455)], []):
        data = png(2, *chunks)
        with Image.open(io.BytesIO(data)) as image:
            assert from_pillow(image).icc == read_bytes(data, "x.png").icc


def test_another_white():
    """Whatever its colour, the white of the picture is that of the screen."""
    white = (34567, 35850, *SRGB_CHRM[2:])
    picture = read_bytes(png(2, gama(45455), chrm(white)), "x.png")
    shown = in_srgb(picture.icc)
    np.testing.assert_allclose(shown[1], 255, atol=1)
    assert np.ptp(shown[0]) <= 1  # gray stays gray


@pytest.mark.parametrize("exponent", [1.0, 1.8, 2.6])
def test_gray(exponent):
    picture = read_bytes(png(0, gama(round(100000 / exponent))), "x.png")
    assert picture.channels == 1
    wanted = encode_srgb((LEVELS[:, :1] / 255) ** exponent).repeat(3, axis=1)
    assert np.abs(in_srgb(picture.icc, LEVELS[:, 0].copy()) - wanted).max() <= 1.5


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [gama(45455)],
        [gama(45455), chrm(SRGB_CHRM)],
        [gama(45454), chrm((31269, 32899, 63999, 33001, 30000, 60000, 15000, 5999))],
        [(b"sRGB", b"\0"), gama(100000)],
        [(b"cICP", bytes([1, 13, 0, 1])), gama(100000)],
        [(b"iCCP", b"x\0\0" + zlib.compress(b"profile")), (b"cICP", bytes([1, 13, 0, 1]))],
    ],
)
def test_srgb_needs_no_profile(chunks):
    picture = read_bytes(png(2, *chunks), "x.png")
    assert (picture.icc, picture.cicp, picture.notes) == (None, None, ())


def test_a_profile_wins_over_numbers():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    chunk = (b"iCCP", b"x\0\0" + zlib.compress(profile))
    assert read_bytes(png(2, chunk, gama(100000), chrm(P3_CHRM)), "x.png").icc == profile


@pytest.mark.parametrize(
    "chunks",
    [
        [gama(0)],
        [gama(10)],
        [chrm((31270, 0, *SRGB_CHRM[2:]))],
        [chrm((31270, 32900) + (30000, 30000) * 3)],
        [chrm((2**31, 2**31) * 4)],
    ],
)
def test_numbers_that_describe_no_colours(chunks):
    picture = read_bytes(png(2, *chunks), "x.png")
    assert picture.icc is None
    assert picture.notes == ("its gAMA and cHRM describe no colours: taken for sRGB",)


def test_code_points_of_display_p3():
    """They become a profile, and stay in a PNG."""
    picture = read_bytes(png(2, (b"cICP", bytes([12, 13, 0, 1]))), "x.png")
    x = LEVELS / 255
    light = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    wanted = encode_srgb(light @ np.array(P3_TO_XYZ).T @ np.linalg.inv(SRGB_TO_XYZ).T)
    assert np.abs(in_srgb(picture.icc) - wanted).max() <= 1.5
    for ending in (".png", ".jpg", ".tif"):
        layout, notes = fit(picture, format_of(f"x{ending}"), (2, 12), Wanted())
        assert layout.icc == picture.icc
        assert (layout.cicp is not None) == (ending == ".png")
        assert notes == []


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG"), (17, "cICP 9, 17")])
def test_hdr_stays_in_a_png(tmp_path, transfer, name):
    told = [
        (b"cICP", bytes([9, transfer, 0, 1])),
        (b"mDCV", bytes(range(24))),
        (b"cLLI", struct.pack(">II", 10000000, 2000000)),
    ]
    (tmp_path / "in.png").write_bytes(png(2, *told))
    renderer = Renderer(make({"name": "bicubic"}).eval())
    for ending in (".png", ".tif", ".webp"):
        done = render_file(
            renderer, tmp_path / "in.png", tmp_path / f"out{ending}", Wanted(scale=(2, 2))
        )
        lost = [note for note in done.notes if f"cannot hold its colours, {name}" in note]
        assert len(lost) == (ending != ".png")
    data = (tmp_path / "out.png").read_bytes()
    for kind, content in told:  # all before the pixels
        assert data.index(png_chunk(kind, content)) < data.index(b"IDAT")
    assert imagecodecs.png_decode(data).shape == (2, 12, 3)
    assert read_picture(tmp_path / "out.png").cicp == read_picture(tmp_path / "in.png").cicp


def test_code_points_of_phones():
    pixels = levels(32, 32, 3, np.uint8)
    file = pillow_heif.from_bytes("RGB", (32, 32), pixels.tobytes())
    buffer = io.BytesIO()
    file.save(buffer, color_primaries=12, transfer_characteristics=13, matrix_coefficients=6)
    heic = read_bytes(buffer.getvalue(), "x.heic")
    assert heic.icc == read_bytes(png(2, (b"cICP", bytes([12, 13, 0, 1]))), "x.png").icc
    avif = imagecodecs.avif_encode(pixels, primaries=9, transfer=16)
    assert read_bytes(avif, "x.avif").cicp == png_chunk(b"cICP", bytes([9, 16, 0, 1]))


def test_a_png_with_alpha_keeps_the_codes():
    cicp = png_chunk(b"cICP", bytes([9, 16, 0, 1]))
    picture = Picture(levels(4, 4, 4, np.uint8), cicp=cicp)
    assert fit(picture, format_of("x.png"), (8, 8), Wanted())[0].cicp == cicp
