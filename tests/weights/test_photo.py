"""The model for photographs as people have them, on photographs it has not seen."""

import numpy as np
import pytest
import torch
from skimage import data

from datasets.degradations.jpeg import Jpeg
from datasets.image_file import resize_bicubic, to_unit
from engine import super_resolve
from models.checkpoint import load_model
from rendering.upscaler import load
from utils import calc_psnr

SIDE = 160


@pytest.fixture(scope="module")
def models():
    names = ("photo", "fast", "bicubic")
    return {name: load_model(name) for name in names}


@pytest.fixture(scope="module")
def photographs():
    images = data.chelsea()[60:, 120:], data.coffee()[100:, 200:], data.astronaut()[40:, 140:]
    return [torch.from_numpy(image[:SIDE, :SIDE].copy()).permute(2, 0, 1) for image in images]


def noisy(image, sigma):
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return (to_unit(image) + noise * sigma / 255).clamp(0, 1)


def saved(image, quality):
    pixels = Jpeg(quality).apply(image.permute(1, 2, 0).numpy(), np.random.default_rng(0))
    return to_unit(torch.from_numpy(pixels.copy()).permute(2, 0, 1))


DAMAGES = {
    "noise 10": lambda image: noisy(image, 10),
    "noise 25": lambda image: noisy(image, 25),
    "noise 50": lambda image: noisy(image, 50),
    "jpeg 15": lambda image: saved(image, 15),
    "jpeg 30": lambda image: saved(image, 30),
    "jpeg 75": lambda image: saved(image, 75),
}


def rendered(loaded, image, size):
    return super_resolve(loaded[0], image, size, loaded[1])


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_restores_what_is_not_enlarged(models, photographs, damage):
    """Fast, which was not trained for it, and the picture as it is, are both farther away."""
    for truth in photographs:
        low = DAMAGES[damage](truth)
        found = {name: rendered(model, low, (SIDE, SIDE)) for name, model in models.items()}
        psnr = {name: calc_psnr(picture, to_unit(truth)) for name, picture in found.items()}
        assert psnr["photo"] > max(psnr["fast"], psnr["bicubic"]) + 0.3


@pytest.mark.parametrize("damage", ["noise 10", "jpeg 30"])
@pytest.mark.parametrize("scale", [2, 2.5, 4])
def test_it_restores_and_enlarges(models, photographs, damage, scale):
    for truth in photographs:
        side = round(SIDE / scale)
        small = resize_bicubic(truth, side, side)
        low = DAMAGES[damage](small)
        found = {name: rendered(model, low, (SIDE, SIDE)) for name, model in models.items()}
        psnr = {name: calc_psnr(picture, to_unit(truth)) for name, picture in found.items()}
        assert psnr["photo"] > max(psnr["fast"], psnr["bicubic"])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_what_is_clean_is_enlarged_better_than_by_bicubic(models, photographs, scale):
    for truth in photographs:
        side = SIDE // scale
        size = side * scale, side * scale
        truth = truth[:, : size[0], : size[1]]
        low = to_unit(resize_bicubic(truth, side, side))
        ours, plain = (
            calc_psnr(rendered(models[name], low, size), to_unit(truth))
            for name in ("photo", "bicubic")
        )
        assert ours > plain


@pytest.mark.parametrize("damage", ["noise 25", "jpeg 15"])
def test_its_strength_is_a_knob(photographs, damage):
    """From fast to photo the picture moves away from the one, towards the other."""
    low = DAMAGES[damage](photographs[0])
    strengths = (0, 0.25, 0.5, 0.75, 1)
    found = [rendered(load_model("photo", s), low, (SIDE, SIDE)) for s in strengths]
    moved = [(picture - found[0]).square().mean().item() for picture in found]
    missing = [(picture - found[-1]).square().mean().item() for picture in found]
    psnr = [calc_psnr(picture, to_unit(photographs[0])).item() for picture in found]
    assert moved == sorted(moved)
    assert missing == sorted(missing, reverse=True)
    assert psnr == sorted(psnr)


@pytest.mark.parametrize(("scale", "gain"), [(1, 0.5), (0.8, 0.3)])
def test_rendering_restores_what_it_does_not_enlarge(photographs, scale, gain):
    """Unlike with other models, and with strength 0, where the picture itself is filtered."""
    for truth in photographs:
        image = saved(truth, 15).mul(255).round().byte().permute(1, 2, 0).numpy()
        found = {
            name: load(*args).upscale(image, scale=scale)
            for name, args in {
                "photo": ("photo",),
                "none": ("photo", None, None, 0),
                "fast": ("fast",),
            }.items()
        }
        assert np.array_equal(found["none"], found["fast"])
        wanted = load("bicubic").upscale(truth.permute(1, 2, 0).numpy(), scale=scale)
        psnr = {
            name: calc_psnr(*(to_unit(torch.from_numpy(x)) for x in (picture, wanted)))
            for name, picture in found.items()
        }
        assert psnr["photo"] > psnr["fast"] + gain
        if scale == 1:
            assert np.array_equal(found["fast"], image)


def test_it_has_no_colour_cast(models):
    """A gray with noise stays that gray."""
    for level in (0.2, 0.5, 0.8):
        low = torch.full((3, 96, 96), level)
        low = low + torch.randn(low.shape, generator=torch.Generator().manual_seed(0)) * 20 / 255
        mean = rendered(models["photo"], low.clamp(0, 1), (192, 192)).mean((1, 2))
        assert (mean - level).abs().max() < 2 / 255
