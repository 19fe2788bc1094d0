import io

import numpy as np
import pytest
import torch
from PIL import Image

from configs.spec import UserError
from datasets.image_file import EXTENSIONS, read_image, resize_bicubic, write_image

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_every_mode_becomes_rgb(tmp_path):
    sixteen = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    palette = Image.fromarray(RGB).quantize(16)
    transparent = palette.copy()
    transparent.info["transparency"] = 0
    images = {
        "rgb": (Image.fromarray(RGB), RGB),
        "gray": (Image.fromarray(GRAY), np.stack([GRAY] * 3, -1)),
        "alpha": (Image.fromarray(np.dstack([RGB, GRAY])), RGB),
        "gray-alpha": (Image.fromarray(np.dstack([GRAY, GRAY])), np.stack([GRAY] * 3, -1)),
        "palette": (palette, np.asarray(palette.convert("RGB"))),
        "transparent": (transparent, np.asarray(palette.convert("RGB"))),
        "bits": (Image.fromarray(GRAY > 99), np.stack([(GRAY > 99) * np.uint8(255)] * 3, -1)),
        "16-bit": (
            Image.fromarray(sixteen),
            np.stack([np.floor(sixteen / 257 + 0.5).astype(np.uint8)] * 3, -1),
        ),
    }
    for name, (image, wanted) in images.items():
        path = tmp_path / f"{name}.png"
        image.save(path)
        got = read_image(path)
        assert got.dtype == np.uint8, name
        np.testing.assert_array_equal(got, wanted, err_msg=name)


def test_the_orientation_of_a_photograph_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    Image.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), np.rot90(RGB, -1))


@pytest.mark.parametrize("suffix", sorted(EXTENSIONS - {".jpg", ".jpeg", ".webp", ".pgm"}))
def test_write_then_read(tmp_path, suffix):
    path = tmp_path / "new" / f"x{suffix}"
    write_image(path, torch.from_numpy(RGB).permute(2, 0, 1) / 255)
    np.testing.assert_array_equal(read_image(path), RGB)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_written_values_are_rounded_and_not_truncated(tmp_path):
    levels = torch.tensor([0.0, 0.499, 0.501, 1.499, 254.6, 255.0, 300.0, -3.0])
    write_image(tmp_path / "x.png", (levels / 255).expand(3, 1, -1))
    assert read_image(tmp_path / "x.png")[0, :, 0].tolist() == [0, 0, 1, 1, 255, 255, 255, 0]


def test_an_ending_of_no_image_is_refused(tmp_path):
    for name in ("x.xyz", "x", "x.pdf"):
        with pytest.raises(UserError, match="ending"):
            write_image(tmp_path / name, torch.zeros(3, 2, 2))
    assert not list(tmp_path.iterdir())


def test_thirty_two_bits_are_refused(tmp_path):
    Image.fromarray(np.full((2, 2), 10**8, np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(UserError, match=r"x\.tif.*32-bit"):
        read_image(tmp_path / "x.tif")


def test_outputs_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"folder\.png: is a folder"):
        write_image(tmp_path / "folder.png", torch.zeros(3, 2, 2))
    with pytest.raises(UserError, match=r"wide\.webp"):
        write_image(tmp_path / "wide.webp", torch.zeros(3, 1, 20000))
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


def png_of(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_bad_files_are_one_line_that_names_them(tmp_path):
    whole = png_of(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    path = tmp_path / "bad file ä.png"
    for size in (0, 5, 30, 200, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="bad file ä") as error:
            read_image(path)
        assert "\n" not in str(error.value)
    path.write_text("no image")
    with pytest.raises(UserError, match="not a readable image"):
        read_image(path)
    with pytest.raises(UserError, match="no such image"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UserError, match="not a readable image"):
        read_image(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    Image.fromarray(RGB).save(tmp_path / "bomb.png")
    with pytest.raises(UserError, match=r"bomb\.png: Image size \(35 pixels\)"):
        read_image(tmp_path / "bomb.png")


def test_resize_is_pillows():
    pixels = torch.from_numpy(RGB).permute(2, 0, 1)
    wanted = np.asarray(Image.fromarray(RGB).resize((4, 3), Image.Resampling.BICUBIC))
    got = resize_bicubic(pixels, 3, 4)
    np.testing.assert_array_equal(got.permute(1, 2, 0), wanted)
    assert torch.equal(resize_bicubic(pixels / 255, 3, 4), got)
