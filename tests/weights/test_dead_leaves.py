import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.programs import fails, succeeds

SCRIPT = "weights/recipe/dead_leaves.py"


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(data.chelsea()[:90, :120]).save(tmp_path / "photos" / "a.png")
    Image.fromarray(data.coffee()[:60, :50]).save(tmp_path / "photos" / "b.png")
    return tmp_path


def read(folder):
    return {p.name: np.asarray(Image.open(p)).astype(int) for p in sorted(folder.iterdir())}


def test_images_follow_from_their_numbers(photos):
    for output, count in (("one", 4), ("two", 3)):
        out = succeeds(
            photos, SCRIPT, "--input", "photos", "--output", output, "--count", count, "--side", 80
        )
        assert out == f"{output}: {count} images\n"
    one, two = read(photos / "one"), read(photos / "two")
    assert list(one) == [f"leaves-000{i}.png" for i in range(4)]
    assert all(image.shape == (80, 80, 3) for image in one.values())
    assert all((one[name] == two[name]).all() for name in two)
    assert len({image.tobytes() for image in one.values()}) == 4


def test_there_are_edges_sharper_than_in_photographs(photos):
    succeeds(photos, SCRIPT, "--input", "photos", "--output", "o", "--count", 3, "--side", 80)

    def steps(image):
        return np.abs(np.diff(image.mean(-1), axis=1))

    steepest = max(steps(image).max() for image in read(photos / "photos").values())
    for image in read(photos / "o").values():
        assert (steps(image) > steepest).mean() > 0.005
        assert (steps(image) < 10).mean() > 0.5, "not all is edges"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--output", "photos"), "is the input"),
        (("--output", "o", "--count", 0), "above 0"),
        (("--output", "o", "--input", "none"), "none"),
    ],
)
def test_mistakes(photos, args, message):
    assert message in fails(photos, SCRIPT, "--input", "photos", *args)
