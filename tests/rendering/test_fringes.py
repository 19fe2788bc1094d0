"""Coloured text on transparency keeps its colours to the edge, where there is little alpha."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from models.checkpoint import load_model
from rendering.grid import Region, output_grid
from rendering.picture import Picture
from rendering.tiles import Renderer
from rendering.transparency import consistent

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module", params=["fast", "bicubic"])
def renderer(request):
    return Renderer(*load_model(request.param))


def text(left, right, hidden=(0, 0, 0), dtype=np.uint8):
    """Letters of a colour in each half; what is transparent has a colour of its own."""
    large = Image.new("L", (360, 160))
    font = ImageFont.load_default(90)
    ImageDraw.Draw(large).text((20, 20), "Ago g", fill=255, font=font)
    alpha = np.asarray(large.resize((90, 40), Image.Resampling.BOX))
    pixels = np.full((40, 90, 4), (*hidden, 0), np.uint8)
    pixels[..., 3] = alpha
    for half, colour in ((slice(0, 45), left), (slice(45, 90), right)):
        pixels[:, half, :3][alpha[:, half] > 0] = colour
    return Picture(pixels.astype(dtype) * dtype(257 if dtype == np.uint16 else 1))


def rendered(renderer, picture, scale, channels=4, **options):
    """As a file gets it."""
    bands = renderer.render(picture, *output_grid(picture.size, (scale, scale), **options))
    return np.concatenate([picture.rows(band, channels, picture.pixels.dtype) for band in bands])


def worst(pixels, colour, alpha):
    """The largest difference of a pixel that is seen, in levels of 8 bits."""
    off = np.abs(pixels[..., :3].astype(float) / np.iinfo(pixels.dtype).max * 255 - colour)
    return off.max(-1)[alpha > 0.02].max()


@pytest.mark.parametrize("scale", [2, 3.7])
@pytest.mark.parametrize(
    ("colour", "hidden", "dtype"),
    [(RED, (0, 0, 0), np.uint8), ((20, 130, 80), (0, 255, 0), np.uint16)],
)
def test_text_of_one_colour(renderer, scale, colour, hidden, dtype):
    got = rendered(renderer, text(colour, colour, hidden, dtype), scale)
    assert worst(got, colour, got[..., 3] / np.iinfo(dtype).max) <= 2


@pytest.mark.parametrize("scale", [3.7])
def test_put_on_white_it_is_not_darker_than_its_colour(renderer, scale):
    """Between the colour and white red stays full, green and blue stay equal."""
    got = rendered(renderer, text(RED, RED), scale, channels=3).astype(int)
    assert got[..., 0].min() >= 253
    assert np.abs(got[..., 1] - got[..., 2]).max() <= 1


@pytest.mark.parametrize("scale", [2, 3.7])
def test_text_of_two_colours(renderer, scale):
    got = rendered(renderer, text(RED, BLUE), scale)
    assert got[got[..., 3] > 5][:, 1].max() <= 2  # there is no green
    places = (np.arange(got.shape[1]) + 0.5) / scale
    for half, colour in ((places < 41, RED), (places > 49, BLUE)):
        assert worst(got[:, half], colour, got[:, half, 3] / 255) <= 2


def test_of_a_part_it_is_the_same(renderer):
    picture = text(RED, BLUE)
    whole = rendered(renderer, picture, 4)
    part = rendered(renderer, picture, 4, region=Region(10, 30, 16, 40))
    assert np.abs(part.astype(int) - whole[40:104, 120:280]).max() <= 1


def test_where_it_is_opaque_all_around_nothing_changes():
    pixels = np.random.default_rng(0).integers(50, 200, (20, 20, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[10, 4, 3] = 0
    picture = Picture(pixels)
    rows, cols = output_grid(picture.size, (3, 3))
    band = torch.rand(2, 3, 60, 60) * 3 - 1
    before = band.clone()
    consistent(picture, band, rows, cols)
    changed = (band != before).any(0).any(0)
    near = np.zeros((20, 20), bool)
    near[9:12, 3:6] = True
    assert not changed[~torch.from_numpy(near.repeat(3, 0).repeat(3, 1))].any()
    assert changed[27:36, 9:18].any()
    # Literally, of one pixel: between the least and the largest that are seen around it.
    seen = np.delete(pixels[9:12, 3:6, :3].reshape(9, 3), 4, axis=0) / 255
    alpha = before[1, :, 31, 13].mean().clamp(0, 1).item()
    wanted = np.clip(before[0, :, 31, 13].numpy(), seen.min(0) * alpha, seen.max(0) * alpha)
    np.testing.assert_allclose(band[0, :, 31, 13], wanted, rtol=1e-5)
