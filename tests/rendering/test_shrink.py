"""Shrinking against Pillow, whose resampling of floats does not round in between."""

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from engine import super_resolve
from rendering.grid import Axis, Region, output_grid
from rendering.picture import Picture
from rendering.shrink import Shrinking
from rendering.tiles import Renderer
from rendering.upscaler import load
from tests.cases import make


def picture(height, width):
    return Picture(np.random.default_rng(0).random((height, width, 3), dtype=np.float32))


def rendered(model, source, **wanted):
    rows, cols = output_grid(source.size, **wanted)
    bands = list(Renderer(model).render(source, rows, cols))
    return torch.cat(bands, dim=2)[0].permute(1, 2, 0).numpy()


def resampled(pixels, size, box=None):
    """By Pillow, (h, w, C) to (H, W, C)."""
    box = box or (0, 0, pixels.shape[1], pixels.shape[0])
    channels = [
        np.asarray(Image.fromarray(channel).resize(size[::-1], Image.Resampling.BICUBIC, box))
        for channel in np.moveaxis(pixels, 2, 0)
    ]
    return np.stack(channels, axis=2)


@pytest.mark.parametrize("size", [(60, 44), (59, 43), (47, 13), (30, 22), (7, 31), (3, 2), (1, 1)])
def test_it_is_that_of_pillow(size):
    source = picture(61, 47)
    got = rendered(make("liif"), source, resolution=size)
    np.testing.assert_allclose(got, resampled(source.pixels, size), atol=2e-6)


@pytest.mark.parametrize("region", [Region(10, 4, 40, 24), Region(3.5, 0.25, 31.7, 40.1)])
def test_a_region(region):
    source = picture(61, 47)
    got = rendered(make("liif"), source, resolution=(17, 9), region=region)
    box = (region.left, region.top, region.left + region.width, region.top + region.height)
    np.testing.assert_allclose(got, resampled(source.pixels, (17, 9), box), atol=2e-5)


def test_more_rows_than_a_band(monkeypatch):
    monkeypatch.setattr("rendering.tiles.BAND", 500)
    source = picture(211, 47)
    got = rendered(make("liif"), source, resolution=(150, 40))
    np.testing.assert_allclose(got, resampled(source.pixels, (150, 40)), atol=2e-6)


@pytest.mark.parametrize("size", [(31, 141), (140, 20), (60, 94), (61, 48)])
def test_one_axis_grows(size):
    """The network's picture, as wide or tall as the input there, filtered by Pillow."""
    source, model = picture(61, 47), make("liif")
    between = tuple(map(max, size, source.size))
    grown = super_resolve(model, source.planes()[0], between).permute(1, 2, 0).numpy()
    got = rendered(model, source, resolution=size).clip(0, 1)
    # The network's own values may lie beyond [0, 1], which `super_resolve` cuts.
    inside = (grown > 0) & (grown < 1)
    assert inside.mean() > 0.5
    wanted = resampled(grown.astype(np.float32), size)
    close = abs(got - wanted.clip(0, 1)) < 1e-5
    if inside.all():
        assert close.all()
    else:
        assert close.mean() > 0.5


@pytest.mark.parametrize("mode", [(5, 6), (5, 6, 2), (5, 6, 3), (5, 6, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_at_scale_one_it_is_the_input(mode, dtype):
    rng = np.random.default_rng(1)
    image = rng.random(mode, dtype=np.float32)
    if dtype is not np.float32:
        image = (image * np.iinfo(dtype).max).astype(dtype)
    if image.ndim == 3 and mode[2] in (2, 4):
        image[..., -1] = 1 if dtype is np.float32 else np.iinfo(dtype).max
    up = load("fast", "cpu")
    np.testing.assert_allclose(up.upscale(image, scale=1), image, rtol=0, atol=0)
    part = up.upscale(image, scale=1, region=(1, 2, 3, 4))
    np.testing.assert_allclose(part, image[1:4, 2:6], rtol=0, atol=0)


def psnr(a, b):
    return -10 * np.log10((((a.astype(float) - b.astype(float)) / 255) ** 2).mean())


@pytest.mark.parametrize("kind", ["astronaut", "camera", "coffee"])
def test_photographs(kind):
    up, image = load("fast", "cpu"), getattr(skimage.data, kind)()
    for scale in (0.05, 0.11, 0.25, 0.5, 0.7, 0.95):
        got = up.upscale(image, scale=scale)
        wanted = Image.fromarray(image).resize(got.shape[1::-1], Image.Resampling.BICUBIC)
        assert psnr(got, np.asarray(wanted)) > 50
        assert abs(got.mean((0, 1)) - image.mean((0, 1))).max() < 0.5


def test_across_scale_one():
    """Beside it the pictures differ little more than those of Pillow."""
    image = skimage.data.camera()[100:300, 150:350]

    def distance(small, large):
        return psnr(small, np.asarray(Image.fromarray(large).resize(small.shape, 3)))

    up, sizes = load("fast", "cpu"), ((196, 196), (204, 204))
    ours = distance(*(up.upscale(image, size=size) for size in sizes))
    pillow = distance(*(np.asarray(Image.fromarray(image).resize(size, 3)) for size in sizes))
    assert ours > pillow - 3


def test_what_is_rendered_before():
    for step, kinds in (((60, 47), (False, 61)), ((61, 90), (True, 61)), ((20, 90), (True, 61))):
        rows, cols = (Axis.over(n, m) for n, m in zip((61, 47), step, strict=True))
        shrinking = Shrinking(rows, cols)
        assert (shrinking.needs_network, len(shrinking.rows)) == kinds
