"""Each degradation against a literal formula, scipy or Pillow."""

import io
import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.special
from PIL import Image
from skimage import data

from datasets import degradations
from datasets.degradations.base import drawn, drawn_whole
from datasets.degradations.blur import blur_kernel, gaussian, sinc_kernel
from datasets.degradations.filters import filtered, filtered_separably
from errors import UserError

PHOTO = data.astronaut()[100:180, 180:277]  # 80 x 97
ARGS = {
    "blur": {"sigma": [0.5, 2], "anisotropic": 0.5},
    "gray": {},
    "jpeg": {"quality": [20, 60], "subsampling": "either", "grid_offset": True},
    "noise": {"sigma": [5, 30], "gray": 0.5},
    "one-of": {"choices": [[{"name": "poisson"}], [{"name": "gray"}, {"name": "sinc"}]]},
    "poisson": {"scale": [0.5, 2], "gray": 0.5},
    "resize": {"factor": [0.4, 0.8], "kernels": ["box", "lanczos"], "inside": [{"name": "sinc"}]},
    "sinc": {"cutoff": [0.3, 0.6]},
}


def make(name, **args):
    return degradations.make({"name": name, "args": args})


def run(pixels, name, seed=0, **args):
    return make(name, **args)(pixels, np.random.default_rng(seed))


def as_unit(pixels):
    return pixels.astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", degradations.registry.names())
def test_kinds_of_pixels_and_draws(name, channels):
    """8 bits stay, and floats but for JPEG; the same draws do the same; p 0 does nothing."""
    pixels = PHOTO[:, :, :channels].copy()
    for given in (pixels, as_unit(pixels)):
        before, seen = given.copy(), set()
        for seed in range(6):
            result = run(given, name, seed, **ARGS[name])
            assert result.shape == given.shape
            assert result.dtype == (np.uint8 if name == "jpeg" else given.dtype)
            assert 0 <= result.min() < result.max() <= (255 if result.dtype == np.uint8 else 1)
            assert np.array_equal(run(given, name, seed, **ARGS[name]), result)
            seen.add(result.tobytes())
        assert len(seen) == (1 if name == "gray" else 6)
        assert np.array_equal(given, before)
        assert run(given, name, p=0, **ARGS[name]) is given


def test_a_probability_is_how_often_it_acts():
    often, rng = make("noise", sigma=50, p=0.3), np.random.default_rng(0)
    small = PHOTO[:2, :2]
    acted = sum(often(small, rng) is not small for _ in range(2000))
    assert abs(acted - 600) < 4 * math.sqrt(2000 * 0.3 * 0.7)


def test_numbers_of_a_range():
    rng = np.random.default_rng(0)
    numbers = np.array([drawn([2, 6], rng, power=3) for _ in range(4000)])
    assert 2 <= numbers.min() < numbers.max() <= 6
    assert np.median(numbers) == pytest.approx(2 + 4 * 0.5**3, abs=0.06)
    assert drawn(5, rng) == 5
    assert {drawn_whole([7, 13], rng, step=2) for _ in range(100)} == {7, 9, 11, 13}
    assert {drawn_whole([3, 5], rng) for _ in range(100)} == {3, 4, 5}


def literal_kernel(side, sigma, sigma_2, degrees, shape, beta):
    """Real-ESRGAN, section 3.1: element by element."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.diag([sigma**2, sigma_2**2]) @ turn.T)
    kernel = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            place = np.array([j - side // 2, i - side // 2])
            q = place @ inverse @ place
            kernel[i, j] = {
                "gaussian": math.exp(-q / 2),
                "generalized": math.exp(-(q**beta) / 2),
                "plateau": 1 / (1 + q**beta),
            }[shape]
    return kernel / kernel.sum()


@pytest.mark.parametrize("shape", ["gaussian", "generalized", "plateau"])
@pytest.mark.parametrize("numbers", [(7, 0.7, 2.1, 30), (9, 3, 0.4, 120), (5, 1, 1, 0)])
def test_blur_kernels(shape, numbers):
    wanted = literal_kernel(*numbers, shape, 1.3)
    np.testing.assert_allclose(blur_kernel(*numbers, shape, 1.3), wanted, atol=1e-12)


def test_a_gaussian_is_separable():
    line = gaussian(9, 1.4)
    wanted = literal_kernel(9, 1.4, 1.4, 0, "gaussian", 1)
    np.testing.assert_allclose(np.outer(line, line), wanted, atol=1e-12)


@pytest.mark.parametrize("cutoff", [math.pi / 3, math.pi])
def test_sinc_kernel(cutoff):
    side = 11
    wanted = np.full((side, side), cutoff**2 / (4 * math.pi))
    for i in range(side):
        for j in range(side):
            if r := math.hypot(i - 5, j - 5):
                wanted[i, j] = cutoff * scipy.special.j1(cutoff * r) / (2 * math.pi * r)
    np.testing.assert_allclose(sinc_kernel(side, cutoff), wanted / wanted.sum(), atol=1e-6)


@pytest.mark.parametrize("size", [(80, 97, 3), (5, 40, 1), (1, 7, 3), (4, 1, 1)])
def test_filters_are_those_of_scipy(size):
    rng = np.random.default_rng(0)
    pixels = rng.random(size, np.float32)
    kernel = rng.random((9, 9))
    kernel += kernel[::-1, ::-1]
    kernel /= kernel.sum()
    wanted = scipy.ndimage.correlate(pixels, kernel[:, :, None], mode="mirror")
    np.testing.assert_allclose(filtered(pixels, kernel), wanted, atol=1e-5)
    rows, cols = gaussian(7, 2), gaussian(11, 0.4)  # whose ends are nothing
    wanted = scipy.ndimage.correlate1d(pixels, rows, axis=0, mode="mirror")
    wanted = scipy.ndimage.correlate1d(wanted, cols, axis=1, mode="mirror")
    np.testing.assert_allclose(filtered_separably(pixels, rows, cols), wanted, atol=1e-5)


def test_blur_has_its_sigma_and_rounds_to_eight_bits():
    args = {"sigma": 1.3, "size": 9}
    kernel = literal_kernel(9, 1.3, 1.3, 0, "gaussian", 1)[:, :, None]
    wanted = scipy.ndimage.correlate(PHOTO.astype(float), kernel, mode="mirror")
    np.testing.assert_allclose(run(as_unit(PHOTO), "blur", **args), wanted / 255, atol=1e-6)
    assert np.abs(run(PHOTO, "blur", **args) - wanted).max() < 0.501


def spread(pixels):
    """Covariance of a spot, (x, y)."""
    rows, cols = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    return np.cov(np.stack([cols.ravel(), rows.ravel()]), aweights=pixels[:, :, 0].ravel(), ddof=0)


def test_blur_is_turned_and_stretched():
    spot = np.zeros((61, 61, 1), np.float32)
    spot[30, 30] = 1
    args = {"sigma": 3, "sigma_2": 1.5, "rotation": 30, "anisotropic": 1}
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    turn = np.array([[cos, -sin], [sin, cos]])
    wanted = turn @ np.diag([9, 2.25]) @ turn.T
    np.testing.assert_allclose(spread(run(spot, "blur", **args)), wanted, rtol=0.03)
    both = spread(run(spot, "blur", **{**args, "anisotropic": 0}))
    np.testing.assert_allclose(both, 9 * np.eye(2), rtol=0.03, atol=1e-3)


def noise_of(result, pixels):
    return result.astype(float) - pixels


def test_noise():
    gray = np.full((200, 200, 3), 128, np.uint8)
    noise = noise_of(run(gray, "noise", sigma=20), gray).reshape(-1, 3)
    assert np.abs(noise.mean(axis=0)).max() < 4 * 20 / 200
    np.testing.assert_allclose(noise.std(axis=0), math.sqrt(20**2 + 1 / 12), rtol=0.02)
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.02
    noise = noise_of(run(gray, "noise", sigma=20, gray=1), gray)
    assert np.array_equal(noise, noise[:, :, :1].repeat(3, 2))
    assert noise.std() == pytest.approx(20, rel=0.02)


def test_noise_that_is_not_clipped():
    """Of the same draws: floats beyond [0, 1]; clipped and rounded they are the other one's."""
    result = run(PHOTO, "noise", sigma=40, clip=False)
    rng = np.random.default_rng(0)
    rng.random(3)  # whether it acts, sigma, whether it is gray
    wanted = PHOTO / 255 + rng.standard_normal(PHOTO.shape, np.float32) * 40 / 255
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, wanted, atol=1e-6)
    assert result.min() < 0
    assert result.max() > 1
    rounded = np.rint(result * 255).clip(0, 255)
    assert (rounded != run(PHOTO, "noise", sigma=40)).mean() < 1e-3  # ties
    again = run(result, "noise", sigma=0, clip=False)
    assert np.array_equal(again, result)


@pytest.mark.parametrize("level", [10, 128, 220])
def test_poisson(level):
    """Variance scale^2 * level, in levels of 255, since Poisson(level) has its mean as variance."""
    flat = np.full((200, 200, 3), level, np.uint8)
    for scale in (0.5, 1):
        noise = noise_of(run(flat, "poisson", scale=scale), flat).reshape(-1, 3)
        deviation = scale * math.sqrt(level)
        assert np.abs(noise.mean(axis=0)).max() < 4 * deviation / 200 + 0.01
        np.testing.assert_allclose(noise.std(axis=0), math.hypot(deviation, 0.29), rtol=0.03)
        assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.03
    floats = run(as_unit(flat), "poisson", gray=1)
    noise = 255 * noise_of(floats, as_unit(flat))
    np.testing.assert_allclose(noise, noise[:, :, :1].repeat(3, 2), atol=1e-4)
    assert noise.std() == pytest.approx(math.sqrt(level), rel=0.03)


def pillow_jpeg(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "JPEG", **options)
    return np.array(Image.open(file))


@pytest.mark.parametrize("quality", [5, 40, 95])
def test_jpeg_is_that_of_pillow(quality):
    for subsampling, number in ((444, 0), (420, 2)):
        got = run(PHOTO, "jpeg", quality=quality, subsampling=subsampling)
        wanted = pillow_jpeg(PHOTO, quality=quality, subsampling=number)
        assert np.array_equal(got, wanted)
        assert np.array_equal(
            run(as_unit(PHOTO), "jpeg", quality=quality, subsampling=subsampling), wanted
        )
    gray = PHOTO[:, :, :1]
    wanted = pillow_jpeg(gray, quality=quality)[:, :, None]
    assert np.array_equal(run(gray, "jpeg", quality=quality), wanted)
    three = run(gray.repeat(3, 2), "jpeg", quality=quality)
    assert np.array_equal(three, wanted.repeat(3, 2))


def test_the_subsampling_and_quality_of_jpeg_are_drawn():
    wanted = {
        pillow_jpeg(PHOTO, quality=quality, subsampling=number).tobytes()
        for quality in (30, 31, 32)
        for number in (0, 2)
    }
    seen = {
        run(PHOTO, "jpeg", seed, quality=[30, 32], subsampling="either").tobytes()
        for seed in range(60)
    }
    assert seen == wanted


def test_the_blocks_of_jpeg_begin_anywhere():
    """A faint slope at quality 1 becomes steps, one a block."""
    slope = np.linspace(100, 150, 64)[None, :, None].repeat(40, 0)
    slope = np.rint(slope).astype(np.uint8)
    seen = set()
    for seed in range(60):
        result = run(slope, "jpeg", seed, quality=1, grid_offset=True).astype(int)
        assert result.shape == slope.shape
        jumps = np.flatnonzero(np.diff(result[0, :, 0])) + 1
        assert len(jumps) >= 1
        assert len(set(jumps % 8)) == 1
        seen.add(int(jumps[0]) % 8)
    assert seen == set(range(8))
    fixed = run(slope, "jpeg", quality=1).astype(int)
    assert set((np.flatnonzero(np.diff(fixed[0, :, 0])) + 1) % 8) == {0}


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear", "box", "lanczos", "nearest"])
def test_resize_is_that_of_pillow(kernel):
    method = Image.Resampling[kernel.upper()]
    for factor, size in ((0.5, (48, 40)), (1.3, (126, 104))):
        args = {"factor": factor, "kernels": [kernel]}
        wanted = np.array(Image.fromarray(PHOTO).resize(size, method))
        assert np.array_equal(run(PHOTO, "resize", **args), wanted)
        wanted = np.array(Image.fromarray(PHOTO[:, :, 1]).resize(size, method))
        assert np.array_equal(run(PHOTO[:, :, 1:2], "resize", **args), wanted[:, :, None])
        floats = run(as_unit(PHOTO), "resize", **args)
        one = Image.fromarray(as_unit(PHOTO)[:, :, 2].copy()).resize(size, method)
        assert np.array_equal(floats[:, :, 2], np.array(one).clip(0, 1))


def test_resize_keeps_what_was_beyond_black_and_white():
    loud = as_unit(PHOTO) * 3 - 1
    small = run(loud, "resize", factor=0.5, kernels=["box"])
    assert small.min() < -0.5
    assert small.max() > 1.5


def test_resize_and_back():
    inside = [{"name": "jpeg", "args": {"quality": 20}}]
    result = run(PHOTO, "resize", factor=0.5, kernels=["box"], inside=inside)
    small = np.array(Image.fromarray(PHOTO).resize((48, 40), Image.Resampling.BOX))
    small = pillow_jpeg(small, quality=20)
    wanted = Image.fromarray(small).resize((97, 80), Image.Resampling.BOX)
    assert np.array_equal(result, np.array(wanted))
    assert run(PHOTO, "resize", factor=0.01).shape == (1, 1, 3)


def test_gray_is_the_luma():
    wanted = np.array(Image.fromarray(PHOTO).convert("L")).astype(int)
    result = run(PHOTO, "gray")
    assert np.array_equal(result, result[:, :, :1].repeat(3, 2))
    assert (result[:, :, 0] != wanted).mean() < 1e-3  # ties
    np.testing.assert_allclose(run(as_unit(PHOTO), "gray")[:, :, 0], wanted / 255, atol=0.51 / 255)


def test_one_of_draws_by_weight_and_keeps_the_order():
    jpeg, sinc = {"name": "jpeg", "args": {"quality": 20}}, {"name": "sinc"}
    made = make("one-of", choices=[[{"name": "gray"}], []], weights=[1, 3])
    rng, small = np.random.default_rng(0), PHOTO[:2, :2]
    acted = sum(made(small, rng) is not small for _ in range(2000))
    assert abs(acted - 500) < 4 * math.sqrt(2000 / 4 * 3 / 4)
    either = make("one-of", choices=[[jpeg, sinc], [sinc, jpeg]])
    seen = set()
    for seed in range(8):
        result = either(PHOTO, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        first, then = ((jpeg, sinc), (sinc, jpeg))[int(rng.random(2)[1] >= 0.5)]
        wanted = degradations.make(then)(degradations.make(first)(PHOTO, rng), rng)
        assert np.array_equal(result, wanted)
        seen.add(first["name"])
    assert seen == {"jpeg", "sinc"}


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("blurr", {}, "degradation.name: unknown degradation 'blurr'; did you mean 'blur'?"),
        (
            "blur",
            {"sigma": [3, 1]},
            "degradation.args.sigma: a range begins with its lower end, got [3, 1]",
        ),
        (
            "blur",
            {"sigma": 1, "size": [4, 9]},
            "degradation.args.size: expected an odd number from 1 to 201, or a range [low, high] "
            "of such, got [4, 9]",
        ),
        (
            "noise",
            {"sigma": "2e1"},
            "degradation.args.sigma: expected a number from 0 to 255, or a range [low, high] of "
            "such, got '2e1'; YAML reads '2e1' as text, write 2.0e+1",
        ),
        (
            "noise",
            {"sigma": 5, "p": 1.5},
            "degradation.args.p: input should be less than or equal to 1, got 1.5",
        ),
        ("noise", {"sigma": 1, "grey": 1}, "'noise' takes no argument 'grey'; did you mean 'gray'"),
        ("noise", {}, "degradation.args: 'noise' needs the argument 'sigma'"),
        (
            "jpeg",
            {"quality": 30.5},
            "degradation.args.quality: expected a whole number from 1 to 100, or a range "
            "[low, high] of such, got 30.5",
        ),
        (  # what YAML makes of 4:2:0
            "jpeg",
            {"quality": 30, "subsampling": 14520},
            "degradation.args.subsampling: input should be 444, 420 or 'either', got 14520",
        ),
        (
            "resize",
            {"factor": 2, "kernels": ["cubic"]},
            "degradation.args.kernels.0: input should be 'bicubic', 'bilinear', 'box', 'lanczos' "
            "or 'nearest', got 'cubic'",
        ),
        (
            "resize",
            {"factor": 2, "inside": [{"name": "gray"}, {"name": "gary"}]},
            "degradation.args.inside.1.name: unknown degradation 'gary'; did you mean 'gray'?",
        ),
        (
            "one-of",
            {"choices": [[{"name": "noise", "args": {"sigma": [2, 1]}}]]},
            "degradation.args.choices.0.0.args.sigma: a range begins with its lower end",
        ),
        ("one-of", {"choices": [{"name": "gray"}]}, "degradation.args.choices.0: "),
        ("one-of", {"choices": [["gray"]]}, "choices.0.0: expected a mapping with 'name' and"),
        ("one-of", {"choices": [[]], "weights": [1, 2]}, "one-of: 2 weights for 1 choices"),
        ("one-of", {"choices": [[]], "weights": [0]}, "one-of: the weights are all 0"),
    ],
)
def test_a_wrong_spec_is_one_line(name, args, message):
    with pytest.raises(UserError) as error:
        make(name, **args)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
