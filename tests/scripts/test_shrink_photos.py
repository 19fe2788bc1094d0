import numpy as np
from PIL import Image

from tests.test_programs import fails, photos, succeeds

__all__ = ["photos"]  # a fixture


def test_copies_are_pillows(photos, tmp_path):
    args = ["--input", "photos", "--output", tmp_path / "out", "--factor", "1", "0.5", "0.3"]
    out = succeeds(photos, "scripts/shrink_photos.py", *args, "--min-side", "30")
    assert out == f"{tmp_path}/out: 6 images\n"  # 90 x 100 x 0.3 are too few pixels
    image = Image.open(photos / "photos/1.png")
    same, half = (Image.open(tmp_path / f"out/1-{name}.png") for name in ("100", "050"))
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(half, image.resize((50, 45), Image.Resampling.BICUBIC))


def test_mistakes(photos, tmp_path):
    args = ["--input", "photos", "--output", tmp_path / "out"]
    assert "above 0, up to 1" in fails(photos, "scripts/shrink_photos.py", *args, "--factor", "2")
    same = ["--input", "photos", "--output", "photos"]
    assert "is the input" in fails(photos, "scripts/shrink_photos.py", *same)
    gone = ["--input", "none", "--output", tmp_path / "out"]
    assert "none" in fails(photos, "scripts/shrink_photos.py", *gone)
