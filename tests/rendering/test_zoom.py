import errno
import weakref

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from errors import UserError
from files.whole import written_whole
from models.checkpoint import load_model
from rendering import zoom as module
from rendering.grid import Axis
from rendering.job import Wanted
from rendering.picture import Picture
from rendering.tiles import Renderer
from rendering.video import write_video
from rendering.zoom import FRAMES, render_frames, zoom
from tests.cases import SMALL_ARGS, make
from tests.rendering.corpus import levels

UINT8 = np.dtype(np.uint8)


@pytest.fixture
def photo(tmp_path):
    """Flat but for a detailed square."""
    pixels = np.full((150, 200, 3), 90, np.uint8)
    pixels[90:140, 120:170] = np.random.default_rng(0).integers(0, 255, (50, 50, 3))
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def literal(renderer, picture, size, point, by):
    """A frame by its definition: all of the picture encoded, and its pixels asked for."""
    rows, cols = (
        Axis.over(n, count, place * (1 - 1 / by), n / by)
        for n, count, place in zip(picture.size, size, point, strict=True)
    )
    planes = renderer.decoder.decode(renderer.encode(picture), rows, cols)
    return picture.rows(planes, 3, UINT8).astype(int)


def test_frames_zoom_into_the_point(renderer, monkeypatch):
    monkeypatch.setattr(module, "FRAMES", 3)
    picture = Picture(levels(60, 80, 3, np.uint8))
    frames = list(render_frames(renderer, picture, (60, 80), (15.0, 60.0), 16.0))
    np.testing.assert_array_equal(frames[0], picture.pixels)
    for frame, by in ((frames[1], 4.0), (frames[2], 16.0)):
        wanted = literal(renderer, picture, (60, 80), (15.0, 60.0), by)
        assert np.abs(frame - wanted).max() <= 1


CMSR = {"s2m_tables": {8: {1: 0.109, 2.5: 0.111, 8: 1}}}
RCAN = {"name": "rcan", "args": {**SMALL_ARGS["rcan"], "no_upsampling": True}}


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("compact", {}),
        ("lte", {}),
        ("clit", {}),
        ("sronet", {}),
        ("lmliif", {"cmsr_spec": CMSR}),
        ("liif", {"encoder_spec": RCAN}),  # which sees all of the picture
    ],
    ids=["compact", "lte", "clit", "sronet", "cmsr", "rcan"],
)
@pytest.mark.parametrize("encoded", ["never", "later", "first"])
def test_frames_are_those_of_the_whole_picture(monkeypatch, name, args, encoded):
    """Whether what they show is encoded in tiles for each of them, or as soon as it fits."""
    monkeypatch.setattr(module, "FRAMES", 3)
    if name == "compact":
        renderer = Renderer(*load_model(name))
    else:  # what random weights give differs by little, so it is made more
        norm = {"inp": {"sub": [0.5], "div": [0.5]}, "gt": {"sub": [0.5], "div": [10.0]}}
        renderer = Renderer(make(name, **args), norm)
    picture = Picture(levels(80, 90, 3, np.uint8))
    if renderer.knows_parts:
        whole = 80 * 90 * sum(renderer.memory)
        budget = {"never": 0, "later": whole - 1, "first": whole}[encoded]
        monkeypatch.setattr(module, "BUDGET", budget)
    frames = render_frames(renderer, picture, (20, 24), (31.0, 60.0), 36.0)
    assert next(frames).shape == (20, 24, 3)
    for frame, by in zip(frames, (6.0, 36.0), strict=True):
        wanted = literal(renderer, picture, (20, 24), (31.0, 60.0), by)
        assert wanted.std() > 5
        assert np.abs(frame - wanted).max() <= 1


def test_only_what_is_shown_is_encoded_and_once(monkeypatch):
    monkeypatch.setattr(module, "FRAMES", 5)
    model = make("liif")
    renderer = Renderer(model)
    around = renderer.reach + model.margin + module.AROUND
    side = 10 + 2 * around + 2  # of the second frame with what the model sees around it
    monkeypatch.setattr(module, "BUDGET", side * side * sum(renderer.memory))
    seen, features = [], model.features
    model.features = lambda inp: (seen.append(inp.shape[2:]), features(inp))[1]
    picture = Picture(levels(300, 300, 3, np.uint8))
    frames = list(render_frames(renderer, picture, (8, 8), (150.0, 150.0), 30.0**4))
    assert len(frames) == 5
    assert len(seen) == 1
    assert max(seen[0]) <= side


@pytest.mark.parametrize("tile", [None, 8])
def test_where_the_memory_is_small_frames_are_made_of_tiles(monkeypatch, tile):
    monkeypatch.setattr(module, "FRAMES", 2)
    monkeypatch.setattr("rendering.tile_size.SIDES", (32,))
    renderer = Renderer(make("liif"), tile=tile)
    picture = Picture(levels(80, 90, 3, np.uint8))
    wanted = literal(renderer, picture, (20, 24), (31.0, 60.0), 6.0)

    def encode(picture, rows, cols):
        assert tile is None
        raise UserError("out of memory")

    monkeypatch.setattr(renderer, "encode", encode)
    *_, frame = render_frames(renderer, picture, (20, 24), (31.0, 60.0), 6.0)
    assert np.abs(frame - wanted).max() <= 1


def test_a_frame_smaller_than_the_picture_has_means(renderer, monkeypatch):
    monkeypatch.setattr(module, "FRAMES", 2)
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[::2] = 200
    frame = next(render_frames(renderer, Picture(pixels), (8, 8), (16.0, 16.0), 2.0))
    assert (np.abs(frame[2:-2].astype(int) - 100) <= 1).all()


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_videos(renderer, photo, tmp_path, monkeypatch, ending, capsys):
    if ending == ".mp4":
        pytest.importorskip("av")
    monkeypatch.setattr(module, "VIDEO_SIDE", 64)
    monkeypatch.setattr(module, "INTERVAL", 0)
    target = tmp_path / f"new/zoom{ending}"
    zoom(renderer, photo, target, Wanted(scale=(8.0, 8.0)), [115.0, 145.0])
    plugin = {"plugin": "pyav"} if ending == ".mp4" else {}
    frames = iio.imread(target, **plugin)
    assert frames.shape[:3] == (FRAMES, 48, 64)
    assert frames[-1].std() > frames[0].std()
    assert not list(tmp_path.glob("**/*.part"))
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"zoom{ending}: 1 of {FRAMES} frames"
    assert len(told) == FRAMES


def colourful(count):
    """Frames of few colours, which a palette holds."""
    for i in range(count):
        yield np.random.default_rng(i).integers(0, 3, (34, 46, 3)).astype(np.uint8) * 100


def test_a_gif_has_each_frame_as_it_is(tmp_path):
    """As Pillow reads them: quantized to 27 colours of 27."""
    with (tmp_path / "a.gif").open("wb") as file:
        write_video(file, ".gif", colourful(5), 24)
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.info["loop"], image.info["duration"]) == (5, 0, 40)
        for i, frame in enumerate(colourful(5)):
            image.seek(i)
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - frame).max() <= 8


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_no_frames_are_kept(tmp_path, ending):
    made, most = [], 0

    def frames():
        nonlocal most
        for frame in colourful(60):
            made.append(weakref.ref(frame))
            most = max(most, sum(one() is not None for one in made))
            yield frame

    with (tmp_path / f"a{ending}").open("wb") as file:
        write_video(file, ending, frames(), 24)
    assert 0 < most <= 3


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_a_full_disk_and_a_stop_leave_nothing(tmp_path, ending):
    class Full:
        def __init__(self, file):
            self.seek, self.tell = file.seek, file.tell

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / f"a{ending}"
    with pytest.raises(OSError, match="No space left") as caught, written_whole(target) as file:
        write_video(Full(file), ending, colourful(3), 24)
    assert caught.value.filename == str(target)

    def stopped():
        yield from colourful(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), written_whole(target) as file:
        write_video(file, ending, stopped(), 24)
    assert not list(tmp_path.iterdir())


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
