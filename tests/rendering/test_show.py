import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

import models
from configs.spec import UserError
from rendering import show
from rendering.grid import Axis
from rendering.job import Wanted
from rendering.picture import Picture
from rendering.show import FRAMES, GAP, INSET, LABEL, compare, zoom
from rendering.tiles import Renderer
from tests.rendering.corpus import levels


@pytest.fixture
def renderer():
    return Renderer(models.make({"name": "bicubic"}).eval())


@pytest.fixture
def photo(tmp_path):
    """Flat but for two detailed squares."""
    pixels = np.full((150, 200, 3), 90, np.uint8)
    rng = np.random.default_rng(0)
    for top, left in ((10, 20), (90, 120)):
        pixels[top : top + 50, left : left + 50] = rng.integers(0, 255, (50, 50, 3))
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_comparison_shows_the_detailed_places(renderer, photo, tmp_path):
    compare(renderer, photo, tmp_path / "c.png", Wanted(scale=(6.0, 6.0)), "bicubic")
    page = np.asarray(Image.open(tmp_path / "c.png"))
    side = 2 * INSET + GAP
    assert page.shape == (LABEL + 2 * (INSET + GAP), side + 3 * (INSET + GAP), 3)
    for row in range(2):
        top = LABEL + row * (INSET + GAP)
        insets = []
        for column in range(3):
            left = side + GAP + column * (INSET + GAP)
            insets.append(page[top : top + INSET, left : left + INSET].astype(int))
        assert insets[0].std() > 40
        blocks = insets[0][::6, ::6]  # each input pixel is 6 x 6
        assert (np.repeat(np.repeat(blocks, 6, 0), 6, 1) == insets[0]).all()
        assert (insets[1] == insets[2]).all()  # the model is bicubic here
        assert (insets[0] != insets[1]).any()


def test_a_comparison_of_a_tiny_image(renderer, tmp_path):
    Image.fromarray(levels(3, 5, 4, np.uint8)).save(tmp_path / "a.png")
    compare(renderer, tmp_path / "a.png", tmp_path / "c.png", Wanted(scale=(2.0, 2.0)), "bicubic")
    assert Image.open(tmp_path / "c.png").size[0] > 3 * 10


def test_frames_zoom_into_the_point(renderer, monkeypatch):
    picture = Picture(levels(60, 80, 3, np.uint8))
    scene = renderer.encode(picture)
    whole = show._frame(renderer, picture, scene, [60, 80], (15.0, 60.0), 1.0)
    np.testing.assert_array_equal(whole, picture.pixels)
    near = show._frame(renderer, picture, scene, [60, 80], (15.0, 60.0), 4.0)
    rows, cols = Axis.over(60, 60, 15 - 15 / 4, 15), Axis.over(80, 80, 60 - 60 / 4, 20)
    wanted = picture.rows(renderer.decode(scene, rows, cols), 3, np.dtype(np.uint8))
    np.testing.assert_array_equal(near, wanted)


def test_a_frame_smaller_than_the_image_is_averaged(renderer):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[::2] = 200
    picture = Picture(pixels)
    frame = show._frame(renderer, picture, renderer.encode(picture), [4, 4], (4.0, 4.0), 1.0)
    assert (frame == 100).all()


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_videos(renderer, photo, tmp_path, monkeypatch, ending):
    if ending == ".mp4":
        pytest.importorskip("av")
    monkeypatch.setattr(show, "VIDEO_SIDE", 64)
    target = tmp_path / f"new/zoom{ending}"
    zoom(renderer, photo, target, Wanted(scale=(8.0, 8.0)), [115.0, 145.0])
    plugin = {"plugin": "pyav"} if ending == ".mp4" else {}
    frames = iio.imread(target, **plugin)
    assert frames.shape[:3] == (FRAMES, 48, 64)
    assert frames[-1].std() > frames[0].std()
    assert not list(tmp_path.glob("**/*.part"))


@pytest.mark.parametrize(
    ("name", "point", "message"),
    [
        ("z.avi", None, r"a video is \.mp4 or \.gif"),
        ("z.png", None, r"a video is \.mp4 or \.gif"),
        ("z.gif", [200.0, 3.0], "not in the image of 150x200"),
    ],
)
def test_mistakes(renderer, photo, tmp_path, name, point, message):
    with pytest.raises(UserError, match=message):
        zoom(renderer, photo, tmp_path / name, Wanted(scale=(2.0, 2.0)), point)
    assert not (tmp_path / name).exists()
