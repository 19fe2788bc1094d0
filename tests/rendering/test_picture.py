import numpy as np
import pytest
import torch

from errors import UserError
from rendering.job import Wanted, fit
from rendering.picture import Picture
from rendering.writing import format_of
from tests.rendering.corpus import levels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_planes_and_back(channels, dtype):
    """Rendered as it is, an image is itself; a colour that is hidden by its alpha may be lost."""
    pixels = levels(12, 13, channels, dtype)
    if channels in (2, 4):
        pixels[..., -1] = np.maximum(pixels[..., -1], pixels.max() * 0.1)
        if dtype is np.float32:
            pixels[..., -1] = pixels[..., -1].clip(0, 1)
    picture = Picture(pixels)
    got = picture.rows(picture.planes(), channels, picture.pixels.dtype)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, pixels, rtol=1e-5, atol=1e-6)


def test_the_planes_of_a_part():
    picture = Picture(levels(9, 8, 4, np.uint8))
    part = picture.planes(slice(2, 5), slice(1, 7))
    assert torch.equal(part, picture.planes()[:, :, 2:5, 1:7])
    alpha = picture.pixels[..., 3:] / np.float32(255)
    colour = picture.pixels[..., :3] / np.float32(255) * alpha
    np.testing.assert_allclose(picture.planes()[0].permute(1, 2, 0), colour, rtol=1e-6)
    np.testing.assert_allclose(picture.planes()[1, 2], alpha[..., 0], rtol=1e-6)


def test_full_alpha_is_not_rendered():
    pixels = levels(4, 5, 4, np.uint8)
    pixels[..., 3] = 255
    picture = Picture(pixels)
    assert picture.count() == len(picture.planes()) == 1
    np.testing.assert_array_equal(picture.rows(picture.planes(), 4, np.dtype(np.uint8)), pixels)


def test_what_is_hidden_does_not_bleed():
    """A red disc on transparent green: between them the colour stays red."""
    pixels = np.zeros((1, 2, 4), np.uint8)
    pixels[0, 0], pixels[0, 1] = (255, 0, 0, 255), (0, 255, 0, 0)
    picture = Picture(pixels)
    middle = picture.planes().mean(dim=3, keepdim=True)
    assert picture.rows(middle, 4, np.dtype(np.uint8)).tolist() == [[[255, 0, 0, 128]]]


def test_integers_are_rounded_and_clamped_floats_are_not():
    picture = Picture(np.zeros((1, 5, 1), np.uint8))
    plane = torch.tensor([-0.1, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 1.3]).expand(1, 3, 1, 5)
    assert picture.rows(plane, 1, np.dtype(np.uint8)).flatten().tolist() == [0, 0, 1, 255, 255]
    wanted = [0, round(0.4999 * 257), round(0.5001 * 257), round(254.6 * 257), 65535]
    assert picture.rows(plane, 1, np.dtype(np.uint16)).flatten().tolist() == wanted
    floats = picture.rows(plane, 1, np.dtype(np.float32)).flatten()
    np.testing.assert_allclose(floats, plane[0, 0, 0])


def test_without_alpha_it_is_put_on_white():
    pixels = np.array([[[10, 20, 30, 255], [0, 0, 0, 0], [0, 0, 255, 128]]], np.uint8)
    picture = Picture(pixels)
    got = picture.rows(picture.planes(), 3, np.dtype(np.uint8))
    assert got.tolist() == [[[10, 20, 30], [255, 255, 255], [127, 127, 255]]]


def test_gray_is_the_mean_of_what_the_model_makes():
    picture = Picture(np.zeros((1, 1, 1), np.uint8))
    plane = torch.tensor([0.1, 0.2, 0.6]).view(1, 3, 1, 1)
    assert picture.rows(plane, 1, np.dtype(np.float32)).item() == pytest.approx(0.3)
    assert picture.rows(plane, 3, np.dtype(np.float32)).flatten().tolist() == pytest.approx(
        [0.3] * 3
    )


@pytest.mark.parametrize(
    ("channels", "dtype", "ending", "wanted", "note"),
    [
        (1, np.uint8, ".png", (1, np.uint8), None),
        (2, np.uint8, ".png", (2, np.uint8), None),
        (4, np.uint16, ".png", (4, np.uint16), None),
        (4, np.uint16, ".tif", (4, np.uint16), None),
        (3, np.float32, ".tif", (3, np.float32), None),
        (3, np.float32, ".png", (3, np.uint16), "rounded to uint16"),
        (3, np.uint16, ".jpg", (3, np.uint8), "rounded to uint8"),
        (3, np.float32, ".jpg", (3, np.uint8), "rounded to uint8"),
        (4, np.uint8, ".jpg", (3, np.uint8), "put on white"),
        (2, np.uint8, ".jpg", (1, np.uint8), "put on white"),
        (1, np.uint8, ".webp", (3, np.uint8), None),
        (2, np.uint8, ".webp", (4, np.uint8), None),
        (4, np.uint8, ".webp", (4, np.uint8), None),
        (2, np.uint8, ".bmp", (1, np.uint8), "put on white"),
        (1, np.uint8, ".ppm", (1, np.uint8), None),
    ],
)
def test_what_a_format_holds(channels, dtype, ending, wanted, note):
    picture = Picture(levels(3, 4, channels, dtype), icc=b"profile")
    layout, notes = fit(picture, format_of(f"x{ending}"), (6, 8), Wanted(quality=90))
    assert (layout.channels, layout.dtype) == wanted
    assert (layout.height, layout.width, layout.quality) == (6, 8, 90)
    lost = [line for line in notes if "colour profile" not in line]
    assert [note in line for line in lost] == ([] if note is None else [True])
    kept = (channels < 3) == (wanted[0] < 3) and ending not in (".bmp", ".ppm")
    assert layout.icc == (b"profile" if kept else None)
    assert len(notes) - len(lost) == (not kept)


def test_too_large_for_its_format():
    with pytest.raises(UserError, match="WEBP has at most 16383"):
        fit(Picture(levels(3, 4, 3, np.uint8)), format_of("x.webp"), (1, 16384), Wanted())
