"""MATLAB's imresize by hand-computed vectors and independent reasoning."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from prepare_lr import keys_kernel, shrink, shrink_rows

from configs.spec import UserError


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
