import numpy as np
from PIL import Image

from tests.programs import fails, succeeds

SCRIPT = "weights/recipe/shrink_photos.py"


def test_copies_are_pillows(photos, tmp_path):
    args = ["--input", "photos", "--output", tmp_path / "out", "--factor", "1", "0.5", "0.3"]
    out = succeeds(photos, SCRIPT, *args, "--min-side", "20")
    assert out == f"{tmp_path}/out: 6 images\n"  # at 0.3 there are too few pixels
    image = Image.open(photos / "photos/1.png")
    same, half = (Image.open(tmp_path / f"out/1-{name}.png") for name in ("100", "050"))
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(
        half, image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    )


def test_copies_without_colours_are_pillows_luma(photos, tmp_path):
    args = ["--input", "photos", "--output", tmp_path / "out", "--factor", "0.5", "--gray"]
    succeeds(photos, SCRIPT, *args, "--min-side", "20")
    gray = Image.open(photos / "photos/1.png").convert("L")
    written = Image.open(tmp_path / "out/1-050-gray.png")
    assert written.mode == "L"
    np.testing.assert_array_equal(
        written, gray.resize((gray.width // 2, gray.height // 2), Image.Resampling.BICUBIC)
    )


def test_mistakes(photos, tmp_path):
    args = ["--input", "photos", "--output", tmp_path / "out"]
    assert "above 0, up to 1" in fails(photos, SCRIPT, *args, "--factor", "2")
    same = ["--input", "photos", "--output", "photos"]
    assert "is the input" in fails(photos, SCRIPT, *same)
    gone = ["--input", "none", "--output", tmp_path / "out"]
    assert "none" in fails(photos, SCRIPT, *gone)


def test_two_images_are_not_written_to_one_file(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.jpg"):
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "in" / name)
    args = ["--input", "in", "--output", "out", "--min-side", "1"]
    error = fails(tmp_path, SCRIPT, *args)
    assert "in/a.jpg and in/a.png: both would be written to out/a-100.png" in error
    error = fails(tmp_path, SCRIPT, *args, "--factor", "0.5", "0.502")
    assert "--factor: two are the same" in error
    assert not (tmp_path / "out").exists()
