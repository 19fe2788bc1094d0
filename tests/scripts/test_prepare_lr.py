"""MATLAB's imresize by hand-computed vectors and independent reasoning."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from prepare_lr import keys_kernel, shrink, shrink_rows

from errors import UserError
from tests.programs import fails, succeeds


def test_kernel():
    x = np.array([0, 0.5, 1, 1.5, 2, 2.5, -0.5])
    assert keys_kernel(x).tolist() == [1, 0.5625, 0, -0.0625, 0, 0, 0.5625]


def test_an_impulse_halved():
    """Taps of x2: k(0.25 + j/2)/2 = (-3, -9, 29, 111, 111, 29, -9, -3)/256."""
    line = np.zeros((16, 1), np.uint8)
    line[7] = 200
    taps = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    # Output i sees inputs 2i-3 .. 2i+4, so input 7 has tap 10-2i.
    wanted = [taps[10 - 2 * i] * 200 if 0 <= 10 - 2 * i < 8 else 0 for i in range(8)]
    rounded = np.floor(np.array(wanted) + 0.5).clip(0, 255)
    assert shrink_rows(line, 2)[:, 0].tolist() == rounded.tolist()


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_border_is_repeated(scale):
    flat = np.full((scale * 3, scale * 2, 3), 77, np.uint8)
    assert (shrink(flat, scale) == 77).all()
    edge = np.repeat(np.array([[10], [250]], np.uint8), [scale * 6, scale * 6], axis=0)
    got = shrink_rows(edge, scale)[:, 0]
    assert got[:3].tolist() == [10] * 3
    assert got[-3:].tolist() == [250] * 3


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_ramp_stays_a_ramp(scale):
    """The kernel reproduces straight lines; the value is that of the pixel's centre."""
    ramp = np.repeat(np.arange(0, 240, 3, dtype=np.uint8)[:, None], 4, axis=1)
    got = shrink_rows(ramp, scale)[:, 0].astype(float)
    centre = 3 * ((np.arange(len(got)) + 0.5) * scale - 0.5)
    inner = slice(2, -2)
    assert np.abs(got[inner] - centre[inner]).max() <= 0.5


def test_rows_are_rounded_before_columns():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 18, 3), dtype=np.uint8)
    got = shrink(pixels, 3)
    rows = shrink_rows(pixels, 3)
    assert rows.dtype == np.uint8
    assert np.array_equal(got, np.stack([shrink_rows(r, 3) for r in rows]))


def test_the_rest_is_cut_off():
    pixels = np.random.default_rng(0).integers(0, 256, (11, 8), dtype=np.uint8)
    assert shrink(pixels, 3).shape == (3, 2)
    assert np.array_equal(shrink(pixels, 3), shrink(pixels[:9, :6], 3))
    with pytest.raises(UserError, match="2x9 pixels"):
        shrink(np.zeros((2, 9), np.uint8), 3)


def test_16_bits_stay_16():
    """Shrinking is linear but for rounding, so the upper byte shrinks as the pixels do."""
    rng = np.random.default_rng(0)
    deep = rng.integers(20000, 40000, (12, 16), dtype=np.uint16)
    got = shrink(deep, 2)
    assert got.dtype == np.uint16
    assert np.abs(got / 256 - shrink((deep >> 8).astype(np.uint8), 2)).max() < 2
    assert shrink_rows(np.repeat(np.array([[0], [65535]], np.uint16), 8, 0), 2).max() == 65535


@pytest.fixture
def work(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "HR").mkdir()
    for name in ("a.png", "b.png"):
        pixels = rng.integers(0, 256, (12, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "HR" / name)
    return tmp_path


SCRIPT = "scripts/prepare_lr.py"


def written(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def test_two_images_are_not_written_to_one_file(work):
    Image.open(work / "HR" / "a.png").save(work / "HR" / "a.jpg")
    error = fails(work, SCRIPT, "--hr", "HR")
    assert "HR/a.jpg and HR/a.png: both would be written to LR_bicubic/X2/ax2.png" in error
    assert not (work / "LR_bicubic").exists()


def test_files_with_other_pixels_are_not_replaced(work):
    out = succeeds(work, SCRIPT, "--hr", "HR", "--scale", 2, 3)
    assert out == "LR_bicubic: 2 images at x2, x3\n"
    made = written(work / "LR_bicubic")
    assert sorted(made) == ["ax2.png", "ax3.png", "bx2.png", "bx3.png"]
    published = Image.fromarray(np.zeros((6, 12, 3), np.uint8))
    published.save(work / "LR_bicubic/X2/bx2.png")
    (work / "LR_bicubic/X3/ax3.png").write_bytes(b"damaged")
    (work / "LR_bicubic/X2/ax2.png").unlink()
    before = written(work / "LR_bicubic")
    error = fails(work, SCRIPT, "--hr", "HR", "--scale", 2, 3)
    assert "LR_bicubic/X3/ax3.png and 1 more: there already, with other pixels" in error
    assert "--overwrite" in error
    assert written(work / "LR_bicubic") == before
    succeeds(work, SCRIPT, "--hr", "HR", "--scale", 2, 3, "--overwrite")
    assert written(work / "LR_bicubic") == made


def test_files_with_the_same_pixels_are_left(work):
    succeeds(work, SCRIPT, "--hr", "HR", "--scale", 4)
    path = work / "LR_bicubic/X4/ax4.png"
    Image.open(path).save(path, compress_level=0)
    before = written(work / "LR_bicubic")
    (work / "LR_bicubic/X4/bx4.png").unlink()
    succeeds(work, SCRIPT, "--hr", "HR", "--scale", 4)
    assert written(work / "LR_bicubic") == before
    assert path.read_bytes() == before["ax4.png"]


def test_gray_of_16_bits(work):
    deep = np.arange(12 * 24, dtype=np.uint16).reshape(12, 24) * 200
    for name in ("a.png", "b.png"):
        Image.fromarray(deep).save(work / "HR" / name)
    succeeds(work, SCRIPT, "--hr", "HR", "--scale", 2, "--channels", 1)
    small = np.asarray(Image.open(work / "LR_bicubic/X2/ax2.png"))
    assert small.dtype == np.uint16
    np.testing.assert_array_equal(small, shrink(deep, 2))
