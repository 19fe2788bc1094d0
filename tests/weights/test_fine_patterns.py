import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.programs import fails, succeeds

sys.path.insert(0, str(Path(__file__).parents[2] / "weights/recipe"))
import fine_patterns

SCRIPT = "weights/recipe/fine_patterns.py"


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(data.chelsea()[:90, :120]).save(tmp_path / "photos" / "a.png")
    return tmp_path


def test_images_follow_from_their_numbers(photos):
    for output, count in (("one", 4), ("two", 3)):
        args = ("--input", "photos", "--output", output, "--count", count, "--side", 80)
        assert succeeds(photos, SCRIPT, *args) == f"{output}: {count} images\n"
    one, two = (
        {p.name: np.asarray(Image.open(p)) for p in sorted((photos / folder).iterdir())}
        for folder in ("one", "two")
    )
    assert list(one) == [f"fine-000{i}.png" for i in range(4)]
    assert all(image.shape == (80, 80, 3) for image in one.values())
    assert all((one[name] == two[name]).all() for name in two)
    assert len({image.tobytes() for image in one.values()}) == 4


@pytest.mark.parametrize("draw", fine_patterns.KINDS[:5] + fine_patterns.KINDS[7:])
def test_neighbours_differ_by_turns(draw):
    """Far from the mean of their neighbours, as pixels of photographs hardly are."""
    rng = np.random.default_rng(1)
    for _ in range(3):
        cells = draw(60, rng)
        assert cells.shape[:2] == (60, 60)
        levels = cells if cells.ndim == 2 else cells.mean(-1) / 255
        assert levels.min() >= 0
        assert levels.max() <= 1
        around = (levels[:-2, 1:-1] + levels[2:, 1:-1]) / 2
        assert (abs(levels[1:-1, 1:-1] - around) > 0.1).mean() > 0.02


def test_a_dithered_photograph_keeps_its_mean():
    pixels, rng = data.chelsea()[100:160, 100:160], np.random.default_rng(0)
    for _ in range(8):
        cells = fine_patterns.dithered_photograph((pixels, rng))
        mean = cells.mean() * (255 if cells.ndim == 2 else 1)
        assert abs(mean - pixels.mean()) < 12


@pytest.mark.parametrize(("cell", "side"), [(1, 4), (3, 12), (1.5, 6), (2.75, 11)])
def test_cells_have_their_width(cell, side):
    cells = np.uint8([[0, 255, 0, 255]] * 4)[..., None].repeat(3, 2)
    picture = fine_patterns.magnified(cells, cell)
    assert picture.shape == (side, side, 3)
    assert abs(picture.mean() - 127.5) < 1
    assert picture[0, 0].max() == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--output", "photos"), "is the input"),
        (("--output", "o", "--count", 0), "1 or more"),
        (("--output", "o", "--side", 20), "40 or more"),
        (("--output", "o", "--input", "none"), "none"),
    ],
)
def test_mistakes(photos, args, message):
    assert message in fails(photos, SCRIPT, "--input", "photos", *args)
