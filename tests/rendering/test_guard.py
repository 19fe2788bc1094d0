"""The guard against its formula, and pictures that ruined the models before there was one."""

from functools import cache

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from models.checkpoint import load_checkpoint, load_model, save_checkpoint
from rendering.grid import Axis, Region, output_grid
from rendering.guard import Guard, fineness
from rendering.picture import Picture
from rendering.tiles import Renderer
from tests.rendering.graphics import GRAPHICS, graphic
from utils import calc_psnr, sample_bicubic

BOX = ("fast", "compact")


@pytest.fixture(scope="module")
def models():
    return {name: load_model(name) for name in (*BOX, "bicubic")}


def rendered(models, name, pixels, scale, tile=None, region=None):
    model, norm = models[name]
    picture = Picture(pixels[..., None] if pixels.ndim == 2 else pixels)
    rows, cols = output_grid(picture.size, scale=(scale, scale), region=region)
    bands = torch.cat(list(Renderer(model, norm, tile).render(picture, rows, cols)), dim=2)
    return picture.rows(bands, picture.channels, pixels.dtype)


@pytest.mark.parametrize("name", BOX)
@pytest.mark.parametrize("kind", GRAPHICS)
def test_a_fine_picture_keeps_its_levels(models, kind, name):
    pixels = graphic(kind)
    scale = (1.25, 2, 3.3)[[*GRAPHICS].index(kind) % 3]
    got = rendered(models, name, pixels, scale).astype(float)
    bicubic = rendered(models, "bicubic", pixels, scale).astype(float)
    assert abs(got.mean() - pixels.mean()) <= 8
    assert (abs(got - bicubic) > 110).mean() <= 0.01


def test_it_is_the_guard_that_does_it(models):
    model, norm = load_model("fast")
    model.guarded = False
    got = rendered({"fast": (model, norm)}, "fast", graphic("checker"), 2)
    assert abs(got.mean() - 127.5) > 100


PHOTOGRAPHS = ["astronaut", "coffee", "chelsea", "camera", "rocket"]


@pytest.mark.parametrize("name", BOX)
def test_photographs_change_by_less_than_five_thousandths_of_a_decibel(models, name):
    """Of bicubic copies, against the photographs; most pixels are those of the bare network."""
    bare = {name: load_model(name)}
    bare[name][0].guarded = False
    changes = []
    for kind in PHOTOGRAPHS:
        image = Image.fromarray(getattr(skimage.data, kind)()[60:252, 100:292])
        size = [n // 3 for n in image.size]
        small = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
        truth = torch.from_numpy(np.array(image)).reshape(192, 192, -1).permute(2, 0, 1) / 255
        shown, plain = (rendered(of, name, small, 3) for of in (models, bare))
        assert (shown != plain).mean() < 0.02
        shown, plain = (
            torch.from_numpy(x).reshape(192, 192, -1).permute(2, 0, 1) / 255 for x in (shown, plain)
        )
        changes.append(calc_psnr(shown, truth) - calc_psnr(plain, truth))
    assert max(map(abs, changes)) < 0.005


@pytest.mark.parametrize("kind", ["fax", "bayer 8", "screen of a ramp"])
def test_tiles_and_regions_are_parts_of_the_whole(models, kind):
    pixels = graphic(kind)
    whole = rendered(models, "fast", pixels, 2.5).astype(int)
    for tile in (16, 29):
        tiled = rendered(models, "fast", pixels, 2.5, tile)
        assert abs(tiled - whole).max() <= 1
        assert (tiled != whole).mean() < 1e-3
    region = rendered(models, "fast", pixels, 2.5, region=Region(12, 8, 30, 36))
    assert abs(region - whole[30:105, 20:110]).max() <= 1


def literal_trust(pixels, ask):
    """Of pixels (h, w, C) in [0, 1], one by one; ``ask`` gives the colours at places."""
    height, width, _ = pixels.shape
    inside = lambda y, x: 0 <= y < height and 0 <= x < width  # noqa: E731
    at = lambda y, x: pixels[min(max(y, 0), height - 1), min(max(x, 0), width - 1)]  # noqa: E731

    def square(y, x, reach):
        steps = range(-reach, reach + 1)
        return [(y + i, x + j) for i in steps for j in steps if inside(y + i, x + j)]

    def snap(eighths):  # to the pixels of the output, which are twice as many
        return 0.25 if eighths < 4 else 0.75

    @cache
    def turns(y, x):
        down = at(y - 1, x) - 2 * at(y, x) + at(y + 1, x)
        across = at(y, x - 1) - 2 * at(y, x) + at(y, x + 1)
        return (abs(down) + abs(across)).max()

    doubt, off, lost, far = {}, {}, {}, {}
    for y in range(height):
        for x in range(width):
            fine = np.mean([turns(*place) for place in square(y, x, 3)])
            doubt[y, x] = np.clip((fine - 45 / 255) / (20 / 255), 0, 1)
            if doubt[y, x] > 0:
                steps = ((1, 3), (3, 7), (5, 1), (7, 5))
                points = [(y + snap(i), x + snap(j)) for i, j in steps]
                given, plain = ask(points)
                shown = np.clip(plain + np.clip(given - plain, -0.4, 0.4), 0, 1)
                off[y, x] = (shown - np.clip(plain, 0, 1)).mean(0)
                lost[y, x] = (np.clip(plain, 0, 1) - plain).mean(0)
                far[y, x] = abs(given - plain)

    @cache
    def room(y, x):
        near = [place for place in square(y, x, 3) if place in off]
        if not near:
            return 1.0
        mean, loss = (np.mean([of[place] for place in near], 0) for of in (off, lost))
        return np.clip((4 / 255 - loss * np.sign(mean)) / np.maximum(abs(mean), 1e-9), 0, 1)

    trust = np.ones((height, width))
    for y, x in far:
        near = [place for place in square(y, x, 3) if place in off]
        least = np.min([np.broadcast_to(room(*place), 3) for place in square(y, x, 1)], 0)
        farthest = np.max([far[place].max(0) for place in square(y, x, 1) if place in far], 0)
        part = np.mean([(far[place] > 0.4).mean(0) for place in near], 0)
        near_enough = 1 - np.clip(part * 10 - 1, 0, 1) * (1 - 0.4 / np.maximum(farthest, 0.4))
        trust[y, x] = 1 - doubt[y, x] * (1 - np.minimum(least, near_enough).min())
    return trust


@pytest.mark.parametrize("kind", ["fax", "checkers of colours", "bayer 8"])
def test_trust_is_the_formula(models, kind):
    model = models["fast"][0]
    pixels = graphic(kind)[12:36, 20:40]
    planes = Picture(pixels.reshape(24, 20, -1)).planes()
    latent = model.encode((planes - 0.5) / 0.5)
    cell = torch.tensor([2 / 48, 2 / 40])

    def colours(coord):
        coord = coord.expand(1, -1, -1)
        return model.query_rgb(coord, cell.expand_as(coord), latent) * 0.5 + 0.5

    def ask(places):
        coord = 2 * torch.tensor(places) / torch.tensor([24, 20]) - 1
        plain = sample_bicubic(planes, coord.expand(1, -1, -1))
        return colours(coord)[0].numpy(), plain[0].numpy()

    with torch.no_grad():
        axes = Axis.over(24, 48), Axis.over(20, 40)
        guard = Guard(planes, (24, 20), (0, 0), (0, 0), axes, colours)
        wanted = literal_trust(planes[0].permute(1, 2, 0).numpy(), ask)
    assert guard.trust is not None
    assert wanted.min() < 0.9
    np.testing.assert_allclose(guard.trust[0, 0].numpy(), wanted, atol=2e-4)


def test_smooth_pictures_are_not_looked_at():
    def colours(coord):
        raise AssertionError("asked")

    axes = Axis.over(64, 128), Axis.over(64, 128)
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    assert fineness(ramp).max() < 0.02
    assert Guard(ramp, (64, 64), (0, 0), (0, 0), axes, colours).trust is None


def test_a_checkpoint_can_do_without(tmp_path):
    checkpoint = load_checkpoint("fast")
    save_checkpoint(tmp_path / "bare.pth", {**checkpoint, "guard": False})
    assert load_model("fast")[0].guarded
    assert not load_model(tmp_path / "bare.pth")[0].guarded
    assert not load_model("bicubic")[0].guarded
    published = {"model": checkpoint["model"]}
    save_checkpoint(tmp_path / "published.pth", published)
    save_checkpoint(tmp_path / "asked.pth", {**published, "guard": True})
    assert not load_model(tmp_path / "published.pth")[0].guarded
    assert load_model(tmp_path / "asked.pth")[0].guarded
