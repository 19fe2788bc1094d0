import numpy as np
from PIL import Image

from tests.test_programs import fails, succeeds


def test_celebahq_writes_no_two_images_to_one_file_nor_over_its_input(tmp_path):
    (tmp_path / "in" / "8").mkdir(parents=True)
    for name in ("a.png", "a.jpg"):
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "in" / "8" / name)
    script, args = "scripts/resize_celebahq.py", ["--input", "in/8", "--size", "8", "--output"]
    error = fails(tmp_path, script, *args, "out")
    assert "in/8/a.jpg and in/8/a.png: both would be written to out/8/a.png" in error
    (tmp_path / "in" / "8" / "a.jpg").unlink()
    assert "in/8/a.png: would be overwritten" in fails(tmp_path, script, *args, "in")
    assert succeeds(tmp_path, script, *args, "out") == "out: 1 images at 8\n"
