import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.color import rgb2yuv
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from metrics import calc_ssim
from utils import (
    Averager,
    calc_psnr,
    denormalise,
    make_cell,
    make_coord,
    nearest_index,
    normalise,
    pixel_centres,
    sample_bicubic,
    sample_bilinear,
    sample_nearest,
    to_pixel_samples,
)


def test_make_coord_is_the_grid_of_pixel_centres():
    coord = make_coord((2, 4), flatten=False)
    assert coord.shape == (2, 4, 2)
    assert coord[..., 0].tolist() == [[-0.5] * 4, [0.5] * 4]
    assert coord[0, :, 1].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert torch.equal(make_coord((2, 4)), coord.view(8, 2))


def test_make_coord_of_a_range():
    coord = make_coord((2, 1), ranges=[(0, 1), (-1, 3)])
    assert coord.tolist() == [[0.25, 1.0], [0.75, 1.0]]


@settings(deadline=None)
@given(n=st.integers(1, 5000))
def test_centres_agree_with_affine_grid(n):
    theta = torch.eye(2, 3).unsqueeze(0)
    grid = F.affine_grid(theta, [1, 1, n, 1], align_corners=False)[0, :, 0, 1]
    torch.testing.assert_close(make_coord((n, 1))[:, 0], grid, atol=2e-6, rtol=0)


@pytest.mark.parametrize("shape", [(0, 3), (3, -1)])
def test_make_coord_refuses_sizes_that_are_not_positive(shape):
    with pytest.raises(ValueError, match="positive"):
        make_coord(shape)


def test_to_pixel_samples():
    image = torch.rand(3, 4, 5)
    coord, rgb = to_pixel_samples(image)
    assert torch.equal(coord, make_coord((4, 5)))
    assert torch.equal(rgb[7], image[:, 1, 2])


@settings(deadline=None)
@given(n=st.integers(1, 300), seed=st.integers(0, 99))
def test_nearest_index_is_that_of_grid_sample(n, seed):
    """On random points, on pixel centres and, moved as the models do, on ties between pixels."""
    points = torch.rand(50, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    ties = torch.arange(n + 1) * 2 / n - 1
    coord = torch.cat([points, make_coord((n, 1))[:, 0], ties]) + 1e-6
    coord = coord.clamp(-1 + 1e-6, 1 - 1e-6)
    grid = torch.stack([torch.zeros_like(coord), coord], -1).view(1, 1, -1, 2)
    column = torch.arange(n, dtype=torch.float32).view(1, 1, n, 1)
    wanted = F.grid_sample(column, grid, mode="nearest", align_corners=False).flatten().long()
    assert torch.equal(nearest_index(coord, n), wanted)


def test_nearest_index_stays_inside():
    assert nearest_index(torch.tensor([-5.0, -1.0, 1.0, 5.0]), 4).tolist() == [0, 0, 3, 3]


@pytest.mark.parametrize("sample", [sample_bilinear, sample_bicubic])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (13, 9), (4, 40)], ids=str)
def test_a_grid_is_sampled_like_the_same_points_one_by_one(sample, size):
    image = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    axes = tuple(pixel_centres(n, dtype=torch.float64) * 1.1 for n in size)
    coord = torch.cartesian_prod(*axes).expand(2, -1, -1)
    torch.testing.assert_close(sample(image, coord, axes=axes), sample(image, coord))
    part = {"size": (8, 9), "origin": (1, 1)}
    inner = tuple(x * 0.25 for x in axes)  # all taps are in the part
    torch.testing.assert_close(
        sample(image, coord * 0.25, axes=inner, **part), sample(image, coord * 0.25, **part)
    )


@pytest.mark.parametrize("sample", [sample_nearest, sample_bilinear, sample_bicubic])
def test_interpolation_gives_back_the_pixels(sample):
    image = torch.rand(2, 3, 5, 7)
    coord, _ = to_pixel_samples(image[0])
    got = sample(image, coord.expand(2, -1, -1))
    torch.testing.assert_close(got, image.flatten(2).transpose(1, 2), atol=1e-5, rtol=0)


def test_bicubic_is_exact_for_quadratics():
    def surface(coord):
        y, x = coord.unbind(-1)
        return 1 + 2 * y - x + 3 * y * y - y * x + 0.5 * x * x

    image = surface(make_coord((12, 9), flatten=False).double()).view(1, 1, 12, 9)
    inner = (torch.rand(1, 200, 2, dtype=torch.float64) * 2 - 1) * 0.6
    got = sample_bicubic(image, inner)[0, :, 0]
    torch.testing.assert_close(got, surface(inner)[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 2.5])
def test_bicubic_is_that_of_pillow(scale):
    h, w = 10, 8
    height, width = round(h * scale), round(w * scale)
    pixels = np.random.default_rng(0).random((h, w), dtype=np.float32)
    wanted = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    coord = make_coord((height, width)).unsqueeze(0)
    got = sample_bicubic(torch.from_numpy(pixels).view(1, 1, h, w), coord).view(height, width)
    edge = math.ceil(2 * scale)  # Pillow treats the border in another way
    inner = np.s_[edge:-edge, edge:-edge]
    np.testing.assert_allclose(got.numpy()[inner], wanted[inner], atol=1e-5)


def test_bicubic_beyond_the_border_repeats_it():
    image = torch.rand(1, 2, 3, 4)
    far = torch.tensor([[[-9.0, -9.0], [9.0, 9.0]]])
    got = sample_bicubic(image, far)
    torch.testing.assert_close(got[0], torch.stack([image[0, :, 0, 0], image[0, :, -1, -1]]))


def test_bicubic_gradient():
    image = torch.rand(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    coord = torch.rand(1, 5, 2, dtype=torch.float64) * 2 - 1
    assert torch.autograd.gradcheck(lambda x: sample_bicubic(x, coord), image)


def test_normalise_and_back():
    x = torch.rand(2, 3, 4, 5)
    stats = {"sub": [0.1, 0.2, 0.3], "div": [0.5]}
    y = normalise(x, stats, channel_dim=1)
    torch.testing.assert_close(y[:, 1], (x[:, 1] - 0.2) / 0.5)
    torch.testing.assert_close(denormalise(y, stats, channel_dim=1), x)


def test_make_cell():
    assert make_cell((4, 10)).tolist() == pytest.approx([0.5, 0.2])


@pytest.mark.parametrize(
    ("dataset", "scale", "shave"),
    [(None, 4, 0), ("gray", 4, 0), ("benchmark", 4, 4), ("benchmark", 2.5, 3), ("div2k", 3, 9)],
)
def test_psnr_shaves(dataset, scale, shave):
    """An error in the border is seen exactly where the protocol looks."""
    hr = torch.rand(1, 3, 40, 44)
    for distance in (shave - 1, shave):
        sr = hr + 1e-4
        if distance >= 0:
            sr[..., distance, 20] = 1.5
            seen = calc_psnr(sr, hr, dataset, scale) < 60
            assert seen == (distance >= shave)


def test_psnr_by_hand():
    hr = torch.zeros(3, 20, 20)
    assert calc_psnr(hr + 0.1, hr).item() == pytest.approx(20, abs=1e-4)
    assert calc_psnr(hr + 25.5, hr, rgb_range=255).item() == pytest.approx(20, abs=1e-4)
    luma = 0.1 * (65.738 + 129.057 + 25.064) / 256
    wanted = -20 * math.log10(luma)
    assert calc_psnr(hr + 0.1, hr, "benchmark", 2).item() == pytest.approx(wanted, abs=1e-4)
    gray = hr[:1]
    assert calc_psnr(gray + 0.1, gray, "benchmark", 2).item() == pytest.approx(20, abs=1e-4)
    assert calc_psnr(gray + 0.1, gray, "gray").item() == pytest.approx(20, abs=1e-4)
    assert calc_psnr(hr + 0.1, hr, "gray").item() == pytest.approx(20, abs=1e-4)
    assert math.isinf(calc_psnr(hr, hr))


def test_gray_is_the_luma_of_scikit_image():
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(3, 30, 34, generator=generator)
    sr = (hr + 0.2 * torch.rand(3, 30, 34, generator=generator)).clamp(0, 1)
    truth, found = (rgb2yuv(x.double().permute(1, 2, 0).numpy())[..., 0] for x in (hr, sr))
    wanted = peak_signal_noise_ratio(truth, found, data_range=1)
    assert calc_psnr(sr, hr, "gray").item() == pytest.approx(wanted, abs=1e-4)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    wanted = structural_similarity(found, truth, data_range=1, **options)
    assert calc_ssim(sr, hr, "gray") == pytest.approx(wanted, abs=1e-6)
    one, two = torch.from_numpy(found)[None], torch.from_numpy(truth)[None]
    assert calc_ssim(one, two, "gray") == pytest.approx(wanted, abs=1e-6)


def test_psnr_refuses():
    hr = torch.rand(3, 12, 40)
    with pytest.raises(ValueError, match="nothing"):
        calc_psnr(hr, hr, "benchmark", 6)
    with pytest.raises(ValueError, match="set5"):
        calc_psnr(hr, hr, "set5")


def test_averager():
    mean = Averager()
    assert math.isnan(mean.item())
    mean.add(1)
    mean.add(4, weight=2)
    assert mean.item() == pytest.approx(3)


def test_ssim_is_the_formula():
    """Wang et al. 2004 written out: Gaussian windows of 11 x 11 pixels, on luma, borders shaved."""
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(3, 30, 34, generator=generator, dtype=torch.float64)
    sr = (hr + 0.2 * torch.rand(3, 30, 34, generator=generator, dtype=torch.float64)).clamp(0, 1)
    rgb = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64)
    lumas = [(torch.einsum("chw,c->hw", x, rgb) + 16)[2:-2, 2:-2] for x in (sr, hr)]
    line = torch.exp(-(torch.arange(-5.0, 6.0, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    window = torch.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for i in range(lumas[0].shape[0] - 10):
        for j in range(lumas[0].shape[1] - 10):
            x, y = (luma[i : i + 11, j : j + 11] for luma in lumas)
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            values.append(
                (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
            )
    wanted = torch.stack(values).mean().item()
    assert calc_ssim(sr, hr, "benchmark", 2) == pytest.approx(wanted, abs=1e-4)
    assert calc_ssim(hr, hr, "div2k", 1) == pytest.approx(1)
    assert calc_ssim(sr, hr) < 0.99


def test_ssim_needs_room_for_its_window():
    with pytest.raises(ValueError, match="SSIM needs 11"):
        calc_ssim(torch.rand(3, 12, 30), torch.rand(3, 12, 30), "benchmark", 2)
