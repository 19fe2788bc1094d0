import time

import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rendering import compare as module
from rendering.compare import GAP, INSET, LABEL, Box, compare, detailed
from rendering.job import Wanted
from rendering.picture import Picture
from tests.rendering.corpus import levels


@pytest.fixture
def photo(tmp_path):
    """Flat but for two detailed squares."""
    pixels = np.full((150, 200, 3), 90, np.uint8)
    rng = np.random.default_rng(0)
    for top, left in ((10, 20), (90, 120)):
        pixels[top : top + 50, left : left + 50] = rng.integers(0, 255, (50, 50, 3))
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_comparison_shows_the_detailed_places(renderer, photo, tmp_path):
    compare(renderer, photo, tmp_path / "c.png", Wanted(scale=(6.0, 6.0)), "bicubic")
    page = np.asarray(Image.open(tmp_path / "c.png"))
    side = 2 * INSET + GAP
    assert page.shape == (LABEL + 2 * (INSET + GAP), side + 3 * (INSET + GAP), 3)
    for row in range(2):
        top = LABEL + row * (INSET + GAP)
        insets = []
        for column in range(3):
            left = side + GAP + column * (INSET + GAP)
            insets.append(page[top : top + INSET, left : left + INSET].astype(int))
        assert insets[0].std() > 40
        blocks = insets[0][::6, ::6]  # each input pixel is 6 x 6
        assert (np.repeat(np.repeat(blocks, 6, 0), 6, 1) == insets[0]).all()
        assert (insets[1] == insets[2]).all()  # the model is bicubic here
        assert (insets[0] != insets[1]).any()


def test_a_comparison_of_a_tiny_image(renderer, tmp_path):
    Image.fromarray(levels(3, 5, 4, np.uint8)).save(tmp_path / "a.png")
    compare(renderer, tmp_path / "a.png", tmp_path / "c.png", Wanted(scale=(2.0, 2.0)), "bicubic")
    assert Image.open(tmp_path / "c.png").size[0] > 3 * 10


def test_a_stretched_comparison_says_so(renderer, photo, tmp_path, capsys):
    compare(renderer, photo, tmp_path / "c.png", Wanted(resolution=(300, 600)), "bicubic")
    note = f"{photo}: stretched by 50% in width to 300x600 pixels\n"
    assert capsys.readouterr().err == note


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_transparent_is_compared_on_white(renderer, tmp_path, dtype):
    """The input's inset of a picture with an alpha is its colours over white, by the formula."""
    import imagecodecs

    pixels = levels(40, 40, 4, dtype)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    compare(renderer, tmp_path / "a.png", tmp_path / "c.png", Wanted(scale=(8.0, 8.0)), "bicubic")
    page = np.asarray(Image.open(tmp_path / "c.png"))
    left = 2 * INSET + GAP + GAP
    inset = page[LABEL : LABEL + INSET : 8, left : left + INSET : 8].astype(float)
    colours = pixels.astype(float) / np.iinfo(dtype).max
    white = (colours[..., :3] * colours[..., 3:] + 1 - colours[..., 3:]) * 255
    places = np.lib.stride_tricks.sliding_window_view(white, (36, 36), axis=(0, 1))
    far = np.abs(places.transpose(0, 1, 3, 4, 2) - inset).max(axis=(2, 3, 4))
    assert far.min() <= 1


def by_average(picture, height, width):
    """The literal form: means of the gradient in every place, the largest two that are apart."""
    gray = picture.planes()[0].mean(0).double()
    steps = F.pad(gray.diff(dim=0).abs(), (0, 0, 0, 1)) + F.pad(gray.diff(dim=1).abs(), (0, 1))
    means = F.avg_pool2d(steps[None, None], (height, width), stride=1)[0, 0]
    found = []
    while len(found) < 2 and means.max() >= 0:
        top, left = divmod(int(means.argmax()), means.shape[1])
        found.append(Box(top, left, height, width))
        rows = slice(max(0, top - height + 1), top + height)
        means[rows, max(0, left - width + 1) : left + width] = -1
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 30),
    st.integers(1, 30),
    st.sampled_from([(1, np.uint8), (3, np.uint8), (3, np.uint16), (1, np.float32)]),
    st.integers(0, 2**31),
)
def test_places_are_those_of_averages(height, width, tall, wide, kind, seed):
    channels, dtype = kind
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 65536, (height, width, channels))
    if dtype is np.float32:
        pixels = pixels / 65535
    picture = Picture((pixels // 257 if dtype is np.uint8 else pixels).astype(dtype))
    sides = (min(tall, height), min(wide, width))
    found, wanted = detailed(picture, *sides), by_average(picture, *sides)
    if found != wanted:  # as far as averages can tell: equal sums differ in their last bits there
        means = [mean_gradient(picture, box) for box in (*found, *wanted)]
        assert len(found) == len(wanted)
        np.testing.assert_allclose(means[: len(found)], means[len(found) :], rtol=1e-5)


def mean_gradient(picture, box):
    gray = picture.planes()[0].mean(0).double()
    steps = F.pad(gray.diff(dim=0).abs(), (0, 0, 0, 1)) + F.pad(gray.diff(dim=1).abs(), (0, 1))
    return float(steps[box.top : box.top + box.height, box.left : box.left + box.width].mean())


def test_bands_change_no_place(monkeypatch):
    picture = Picture(levels(50, 40, 3, np.uint8))
    whole = detailed(picture, 12, 9)
    monkeypatch.setattr(module, "BAND", 7 * 40)
    assert detailed(picture, 12, 9) == whole == by_average(picture, 12, 9)


def test_floats_far_beyond_white_hide_no_place():
    """By hand: an outlier of 1e30 is as bright as white, and detail below it is still found."""
    pixels = np.full((100, 40, 1), 0.5, np.float32)
    pixels[3, 3] = 1e30
    pixels[60:64, 20:24] = np.indices((4, 4)).sum(0)[..., None] % 2
    first, second = detailed(Picture(pixels), 6, 6)
    assert first.top in range(58, 61) and first.left in range(18, 21)
    assert second.top in range(4) and second.left in range(4)


def test_large_places_take_no_time():
    """Averages need 2.5e11 additions here, which are a minute and more."""
    picture = Picture(np.random.default_rng(0).integers(0, 256, (1500, 1500, 1), np.uint8))
    start = time.perf_counter()
    assert len(detailed(picture, 1000, 1000)) == 1
    assert time.perf_counter() - start < 20
