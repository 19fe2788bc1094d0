"""Textures: rendering one that is moved is moving what is rendered."""

import numpy as np
import pytest
from PIL import Image

from errors import UserError
from rendering.upscaler import load
from tests.rendering.corpus import levels


@pytest.fixture(scope="module")
def up():
    return load("fast", "cpu")


@pytest.mark.parametrize(("scale", "dtype"), [(2, np.uint8), (3, np.float32), (0.5, np.uint8)])
def test_a_texture_that_is_moved(up, scale, dtype):
    texture = levels(24, 18, 3, dtype)
    moved = np.roll(texture, (10, 8), axis=(0, 1))
    got = up.upscale(moved, scale=scale, wrap=True)
    wanted = up.upscale(texture, scale=scale, wrap=True)
    wanted = np.roll(wanted, (int(10 * scale), int(8 * scale)), axis=(0, 1))
    assert got.dtype == dtype
    atol = 1e-4 if dtype is np.float32 else 1
    np.testing.assert_allclose(got.astype(float), wanted.astype(float), rtol=0, atol=atol)
    plain = up.upscale(texture, scale=scale)
    assert plain.shape == got.shape
    unwrapped = np.roll(plain, (int(10 * scale), int(8 * scale)), axis=(0, 1))
    assert abs(unwrapped.astype(float) - got).max() > 5 * atol  # at the edges it matters


def test_of_nine_tiles_it_is_the_middle_one(up):
    texture = levels(40, 36, 1, np.uint8)[..., 0]
    nine = up.upscale(np.tile(texture, (3, 3)), scale=1.5)[60:120, 54:108]
    one = up.upscale(texture, scale=1.5, wrap=True)
    assert abs(nine.astype(int) - one).max() <= 1


def test_a_region_of_a_texture(up):
    texture = levels(24, 18, 3, np.uint8)
    whole = up.upscale(texture, scale=2, wrap=True)
    part = up.upscale(texture, scale=2, wrap=True, region=(0, 5, 7, 13))
    assert abs(part.astype(int) - whole[:14, 10:36]).max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wrap": 1}, "wrap: expected True or False"),
        ({"fit": "cut"}, "fit: expected one of crop, pad, stretch"),
        ({"dpi": 0}, "dpi: expected a number from 1"),
        ({"dpi": "many"}, "dpi: expected a number"),
        ({"max_input_pixels": 0}, "max_input_pixels: expected a whole number"),
        ({"quick": True}, "there is no argument quick"),
    ],
)
def test_mistakes(up, options, message):
    with pytest.raises(UserError, match=message):
        up.upscale(levels(5, 6, 3, np.uint8), scale=2, **options)


def test_options_of_files_and_pillow_images(up, tmp_path):
    image = Image.fromarray(levels(20, 30, 3, np.uint8))
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    image.save(tmp_path / "a.jpg", exif=exif, dpi=(72, 72))
    with pytest.raises(UserError, match="more than the 599 allowed"):
        up.upscale(tmp_path / "a.jpg", scale=2, max_input_pixels=599)
    with pytest.raises(UserError, match="more than the 599 allowed"):
        up.encode(tmp_path / "a.jpg", max_input_pixels=599)
    out = up.upscale(
        tmp_path / "a.jpg", size=(40, 40), fit="crop", dpi=300, output=tmp_path / "b.png"
    )
    with Image.open(out) as written:
        assert written.size == (40, 40)
        assert written.getexif()[0x010F] == "Maker"
        assert written.getexif().get(0x0112, 1) == 1
        assert round(written.info["dpi"][0]) == 300
    with Image.open(tmp_path / "a.jpg") as opened:
        result = up.upscale(opened, scale=2)
        assert result.size == (40, 60)
        result.save(tmp_path / "c.jpg", exif=result.info["exif"])
        bare = up.upscale(opened, scale=2, strip=True)
        assert "exif" not in bare.info
    with Image.open(tmp_path / "c.jpg") as again:
        assert again.getexif()[0x010F] == "Maker"
    up.upscale(tmp_path / "a.jpg", scale=1, output=tmp_path / "d.webp", lossless=True)
    with Image.open(tmp_path / "d.webp") as exact, Image.open(tmp_path / "a.jpg") as read:
        upright = np.asarray(read.transpose(Image.Transpose.ROTATE_270))
        np.testing.assert_array_equal(np.asarray(exact), upright)
