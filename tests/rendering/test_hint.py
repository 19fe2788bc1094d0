"""What demo.py says of JPEGs and noise, where there is a model for them."""

import io
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image

import models.checkpoint as module
from models.checkpoint import load_checkpoint, save_checkpoint
from rendering import hint as ours
from rendering.hint import HintingRenderer, hint, is_there, jpeg_quality, noise
from rendering.options import parse_args
from rendering.picture import Picture
from rendering.reading import read_bytes
from rendering.upscaler import load
from tests.cases import make
from tests.programs import run
from tests.rendering.graphics import GRAPHICS, graphic

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


def photo(name="chelsea"):
    return getattr(skimage.data, name)()


def noisy(pixels, sigma, seed=0):
    """With white noise, as a camera of 8 bits would have it."""
    added = pixels + np.random.default_rng(seed).normal(0, sigma, pixels.shape)
    return np.rint(added.clip(0, 255)).astype(np.uint8)


def saved(pixels, kind="JPEG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def read(data):
    return read_bytes(data, "a picture")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_qualities_are_those_that_pillow_was_given(mode):
    pixels = np.asarray(Image.fromarray(photo()[:16, :16]).convert(mode))
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.fromarray(pixels, mode).save(buffer, "JPEG", quality=quality)
        assert jpeg_quality(read(buffer.getvalue()).quantisation) == quality


def test_tables_that_no_quality_makes_get_the_nearest():
    exact = read(saved(photo()[:16, :16], quality=60)).quantisation
    other = [number + (i % 3 == 0) for i, number in enumerate(exact)]
    assert jpeg_quality(other) in (59, 60)
    assert jpeg_quality([300] * 64) == 1
    assert jpeg_quality(None) is jpeg_quality([1, 2]) is None


def test_only_jpegs_have_a_quality():
    for kind in ("PNG", "WEBP", "BMP", "TIFF"):
        assert read(saved(photo()[:32, :32], kind)).quantisation is None


def test_what_is_said():
    pixels = photo()
    assert hint(read(saved(pixels, quality=40))) == (
        "JPEG of quality 40; --model photo takes its blocks away"
    )
    assert hint(read(saved(pixels, quality=89))).startswith("JPEG of quality 89;")
    assert hint(read(saved(pixels, quality=90))) is None
    assert hint(read(saved(noisy(pixels, 12), "PNG"))) == (
        "noisy (about 11 levels of 255); --model photo takes that away"
    )
    assert hint(read(saved(noisy(pixels, 12), quality=88))).startswith(
        "JPEG of quality 88, and noisy"
    )


@pytest.mark.parametrize("name", PHOTOS)
def test_noise_is_found_and_measured(name):
    pixels = photo(name)
    assert noise(Picture(pixels)) == 0
    for sigma in (5, 8, 12):
        for gray in (False, True):
            found = noise(Picture(noisy(pixels[..., 1:2] if gray else pixels, sigma)))
            assert found == pytest.approx(sigma, rel=0.15)


def test_noise_is_that_of_the_literal_mask():
    """Immerkaer's mask at every place, and Donoho's median of what it gives."""
    from scipy.ndimage import convolve

    pixels = np.full((96, 96, 1), 120.0) + np.random.default_rng(1).normal(0, 9, (96, 96, 1))
    found = noise(Picture((pixels / 255).astype(np.float32)))
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    wanted = np.median(np.abs(convolve(pixels[..., 0], mask)[1:-1, 1:-1])) / 0.6745 / 6
    assert found == pytest.approx(wanted, rel=0.1)
    tiles = ours._tiles(Picture((pixels / 255).astype(np.float32)))
    literal = convolve(tiles[3].astype(float), mask)[1:-1, 1:-1]
    literal = np.median(np.abs(literal)) / 0.6745 / 6
    assert ours._spread(tiles)[3] == pytest.approx(literal, rel=1e-4)


@pytest.mark.parametrize("kind", ["uint16", "float32", "alpha"])
def test_noise_in_pictures_of_any_kind(kind):
    pixels = noisy(photo(), 8)
    wanted = noise(Picture(pixels))
    if kind == "alpha":
        alpha = np.full(pixels.shape[:2], 255, np.uint8)
        alpha[:40] = 0
        hidden = np.dstack([np.where(alpha[..., None] > 0, pixels, 0).astype(np.uint8), alpha])
        assert noise(Picture(hidden)) == pytest.approx(wanted, rel=0.1)
        assert noise(Picture(np.dstack([pixels, 0 * alpha]))) == 0
        return
    white = {"uint16": 257, "float32": 1 / 255}[kind]
    assert noise(Picture((pixels * np.float64(white)).astype(kind))) == pytest.approx(
        wanted, rel=1e-3
    )


@pytest.mark.parametrize("repeats", [1, 8])
def test_graphics_are_not_noisy(repeats):
    for name in GRAPHICS:
        pixels = graphic(name)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        assert noise(Picture(np.tile(pixels, (repeats, repeats, 1)))) == 0, name


@pytest.mark.parametrize("colours", [2, 4, 16, 64, 256])
def test_dithers_are_not_noisy(colours):
    image = Image.fromarray(photo("astronaut")[:256, :256])
    palette = image.quantize(colours, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")
    assert noise(Picture(np.asarray(palette))) == 0
    thresholds = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16
    steps = min(colours, 32) - 1
    levels = np.asarray(image.convert("L")) / 255 * steps + np.tile(thresholds, (64, 64))
    ordered = np.rint(np.floor(levels).clip(0, steps) * 255 / steps).astype(np.uint8)
    assert noise(Picture(ordered[..., None])) == 0


@pytest.mark.parametrize("size", [(1, 1), (23, 900), (24, 24), (900, 1), (48, 47)])
def test_small_pictures_are_not_judged(size):
    assert noise(Picture(noisy(np.full((*size, 3), 128), 9))) == 0


def test_flat_and_cut_off_pictures_are_not_noisy():
    for level in (0, 128, 255):
        assert noise(Picture(np.full((200, 200, 3), level, np.uint8))) == 0
    assert noise(Picture(noisy(np.full((200, 200, 3), 255), 9))) == 0


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A weights/ with a model for photographs, in which the default is there, too."""
    weights = tmp_path / "weights"
    weights.mkdir()
    fast = load_checkpoint("fast")
    for name in ("fast", "photo"):
        save_checkpoint(weights / f"{name}.pth", fast)
    monkeypatch.setattr(module, "WEIGHTS", weights)
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_model_must_be_there(box):
    assert is_there()
    (box / "photo").mkdir()  # a folder of that name is no model
    assert is_there()
    (box / "weights/photo.pth").unlink()
    assert not is_there()
    (box / "photo").rmdir()
    (box / "photo").write_bytes(b"")
    assert not is_there()


def test_few_lines_and_a_count():
    renderer = HintingRenderer(make("bicubic"), lines=2)
    picture = read(saved(photo(), quality=40))
    assert renderer.notes(Picture(photo())) == ()
    said = [renderer.notes(picture) for _ in range(5)]
    assert said == [(hint(picture),)] * 2 + [()] * 3
    assert renderer.unsaid == 3


def demo(box, *args):
    """What the command says on stderr."""
    done = run(box, "demo.py", *args)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_command(box):
    small = photo()[:80, 100:180]
    for i in range(5):
        (box / f"in/{i}.jpg").write_bytes(saved(small, quality=40 + i))
    (box / "in/plain.png").write_bytes(saved(small, "PNG"))
    args = ["--long-side", "80", "--input"]  # nothing for the network to do
    said = demo(box, *args, "in", "--output", "out/")
    lines = [line for line in said.splitlines() if "--model" in line]
    assert lines == [
        *(
            f"in/{i}.jpg: JPEG of quality {40 + i}; --model photo takes its blocks away"
            for i in range(3)
        ),
        "2 more are such JPEGs, or noisy: --model photo",
    ]
    assert "--model" not in demo(box, *args, "in", "--output", "out/")  # nothing is read again
    line = "in/0.jpg: JPEG of quality 40; --model photo takes its blocks away\n"
    both = ["--compare", "c.png", "--output", "o.png"]
    assert demo(box, *args, "in/0.jpg", *both) == line
    assert demo(box, *args, "in/0.jpg", "--output", "p.png", "--model", "fast") == ""
    (box / "weights/photo.pth").unlink()
    assert demo(box, *args, "in/0.jpg", "--output", "q.png") == ""


def test_python_says_nothing(box, recwarn):
    (box / "in/0.jpg").write_bytes(saved(photo()[:40, :40], quality=20))
    load("fast", "cpu").upscale(box / "in/0.jpg", long_side=40, output=box / "o.png")
    assert not recwarn.list


def test_the_default_is_told_from_its_name(monkeypatch):
    for given, default in (([], True), (["--model", "fast"], False)):
        monkeypatch.setattr(sys, "argv", ["demo.py", "--input", "a", "--scale", "2", *given])
        args = parse_args()
        assert (args.model, args.default_model) == ("fast", default)
