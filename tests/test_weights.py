"""The models in weights/, on photographs it has not seen."""

import pytest
import torch
from skimage import data

from datasets.image_file import resize_bicubic, to_unit
from engine import super_resolve
from models.checkpoint import WEIGHTS, load_model
from utils import calc_psnr


@pytest.fixture(scope="module", params=["fast", "compact"])
def loaded(request):
    return load_model(request.param)


@pytest.fixture(scope="module")
def photographs():
    pixels = [data.chelsea()[:240, 60:360], data.coffee()[100:340, 200:500]]
    return [torch.from_numpy(image.copy()).permute(2, 0, 1) for image in pixels]


def test_they_are_small():
    most = {"compact": 400_000, "fast": 400_000, "photo": 500_000}  # parameters
    assert {path.stem for path in WEIGHTS.glob("*.pth")} == set(most)
    for name, count in most.items():
        assert sum(p.numel() for p in load_model(name)[0].parameters()) < count
        assert (WEIGHTS / f"{name}.pth").stat().st_size < 2_000_000


def test_the_default_is_one_of_them():
    default, fast = (model.state_dict() for model, _ in (load_model(), load_model("fast")))
    assert all(torch.equal(default[key], fast[key]) for key in fast)


@pytest.mark.parametrize(
    ("scale", "gain"),
    [(1.1, 1), (1.5, 1), (2, 1), (2.37, 0.7), (3, 0.6), (4, 0.5), (7.9, 0.2), (16, 0.1), (30, 0)],
)
def test_it_is_better_than_bicubic(loaded, photographs, scale, gain):
    model, norm = loaded
    bicubic, norm_of_bicubic = load_model("bicubic")
    gains = []
    for image in photographs:
        height, width = (int(n / scale) for n in image.shape[1:])
        size = round(height * scale), round(width * scale)
        truth = image[:, : size[0], : size[1]]
        small = to_unit(resize_bicubic(truth, height, width))
        truth = to_unit(truth)
        ours, baseline = (
            calc_psnr(super_resolve(m, small, size, n), truth)
            for m, n in ((model, norm), (bicubic, norm_of_bicubic))
        )
        gains.append((ours - baseline).item())
    assert min(gains) > gain


def test_its_pictures_have_no_grid(loaded):
    """A smooth ramp at a fractional scale stays one: no step where the nearest code changes."""
    model, norm = loaded
    ramp = torch.linspace(0.2, 0.8, 40).expand(3, 40, 40)
    for image in (ramp, ramp.mT):
        picture = super_resolve(model, image, (95, 316), norm)
        lines = picture.mean(0)[20:-20, 60:-60]
        lines = lines if image is ramp else lines.T
        steps = lines.diff(dim=1)
        assert steps.min() > 0
        assert steps.max() < 2 * steps.mean()
        assert lines.diff(dim=0).abs().max() < 0.004
