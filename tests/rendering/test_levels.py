"""Floating-point pixels of any range."""

import numpy as np
import pytest
import skimage.data

from rendering.picture import UNIT, Levels, find_levels
from rendering.upscaler import load


@pytest.fixture(scope="module")
def up():
    return load("fast", "cpu")


@pytest.fixture(scope="module")
def photograph():
    return skimage.data.astronaut()[90:150, 190:260].astype(np.float64) / 255


@pytest.mark.parametrize(
    ("factor", "offset"),
    [(2, 0), (2, -1), (255, 0), (1e-3, 0), (1e-3, 0.5), (1000, 3000), (1e20, 0), (0.3, -5)],
)
def test_a_scaled_picture_gives_the_scaled_result(up, photograph, factor, offset):
    base = (up.upscale(photograph * 4 - 1.5, scale=2.5) + 1.5) / 4
    got = (up.upscale(photograph * factor + offset, scale=2.5) - offset) / factor
    rounding = 1e-5 + 4e-6 * abs(offset) / factor
    np.testing.assert_allclose(got, base, rtol=0, atol=max(2e-3, 40 * rounding))
    assert abs(got - base).mean() < 1e-4 + 4 * rounding


def test_it_is_like_that_of_the_picture_in_the_usual_range(up, photograph):
    usual = up.upscale(photograph, scale=2)
    got = (up.upscale(photograph * 2 - 1, scale=2) + 1) / 2
    assert abs(got - usual).mean() < 0.005
    assert usual.min() > -0.2 and usual.max() < 1.2


@pytest.mark.parametrize("outlier", [1e6, -1e6])
def test_a_single_outlier_stays_where_it_is(up, photograph, outlier):
    affected = photograph * 3
    affected[30, 40] = outlier
    got, wanted = up.upscale(affected, scale=2), up.upscale(photograph * 3, scale=2)
    assert abs(got[60:62, 80:82]).max() > 1e5
    away = np.ones(got.shape[:2], bool)
    away[60 - 14 : 62 + 14, 80 - 14 : 82 + 14] = False
    # Bicubic interpolation reads two pixels; the network some more, but not so much of it.
    assert abs(got - wanted)[away].max() < 0.5
    assert abs(got - wanted)[away].mean() < 0.01


@pytest.mark.parametrize("value", [0.0, 7.5, -3e8])
def test_a_picture_of_one_level(up, value):
    got = up.upscale(np.full((9, 8), value), scale=3)
    np.testing.assert_allclose(got, value, rtol=0.05, atol=0.05)


def test_an_elevation_model_keeps_its_range(up):
    y, x = np.mgrid[:40, :50]
    heights = 2500 + 600 * np.sin(y / 9) * np.cos(x / 7)
    got = up.upscale(heights, scale=3)
    assert abs(got.mean() - heights.mean()) < 5
    assert heights.min() - 60 < got.min() and got.max() < heights.max() + 60


def test_with_alpha(up, photograph):
    alpha = np.ones((*photograph.shape[:2], 1))
    alpha[:30] = 0
    image = np.concatenate([photograph * 8 - 2, alpha], axis=2)
    image[:25, :, :3] = 1e9  # nobody sees it
    got = up.upscale(image, scale=2)
    plain = up.upscale(photograph * 8 - 2, scale=2)
    assert abs(got[80:, :, :3] - plain[80:]).max() < 0.5


def test_shrunk_it_is_the_filtered_picture(up, photograph):
    got = (up.upscale(photograph * 1000 - 300, scale=0.4) + 300) / 1000
    np.testing.assert_allclose(got, up.upscale(photograph, scale=0.4), atol=1e-5)


def test_ranges():
    rng = np.random.default_rng(0)
    full = rng.random((2000, 3))
    assert find_levels(full) == UNIT
    assert find_levels(full * 0.4).span < 0.4
    low, high = find_levels(full * 5 - 1)
    assert (low, high) == pytest.approx((-1, 4), abs=0.02)
    assert find_levels(np.full((5, 3), 0.2)) == UNIT
    assert find_levels(np.full((5, 3), 7.0)) == Levels(7, 8)
    sky = np.zeros((5000, 1))
    sky[:3] = 40  # stars
    assert find_levels(sky) == Levels(0, 40)
    assert find_levels(np.zeros((0, 3))) == UNIT


@pytest.mark.parametrize("level", [1e20, -1e20, 3e38])
def test_one_level_stays_it_however_large(up, level):
    got = up.upscale(np.full((12, 12, 3), level, np.float32), scale=2)
    np.testing.assert_allclose(got, np.float32(level), rtol=1e-5)
