import numpy as np
import pytest
import tifffile
from PIL import Image

from errors import UserError
from rendering import prints
from rendering.grid import Region
from rendering.job import Wanted, render_file
from rendering.prints import Paper, parse_paper
from tests.programs import fails, run, succeeds
from tests.rendering.corpus import levels

MODEL = ["--model", "bicubic"]


@pytest.mark.parametrize(
    ("text", "dpi", "size"),
    [
        ("60x40cm", 300, (4724, 7087)),  # 40 / 2.54 * 300 = 4724.4, 60 / 2.54 * 300 = 7086.6
        ("600x400 mm", 300, (4724, 7087)),
        ("24X16in", 100, (1600, 2400)),
        ("10.5 x 14.8cm", 254, (1480, 1050)),
        ("8\u00d710in", 72, (720, 576)),
        ("A4", 300, (3508, 2480)),
        ("a3", 300, (4961, 3508)),
    ],
)
def test_papers_in_pixels(text, dpi, size):
    assert parse_paper(text).pixels(dpi) == size


@pytest.mark.parametrize(
    "text", ["60x40", "60cm", "0x40cm", "10,5x14cm", "1e9x4cm", "A9", "-6x4cm"]
)
def test_what_is_no_paper(text):
    with pytest.raises(ValueError, match="such as 60x40cm"):
        parse_paper(text)


@pytest.mark.parametrize(("text", "dpi"), [("1x1mm", 1), ("999999999x1in", 300)])
def test_papers_without_a_size_in_pixels(text, dpi):
    with pytest.raises(UserError, match="not from 1 to"):
        parse_paper(text).pixels(dpi)


def test_a_named_paper_lies_as_the_picture_and_numbers_stay():
    a4, numbers = parse_paper("A4"), parse_paper("20x30cm")
    assert a4.under((3000, 2000)) == a4
    assert (a4.under((2000, 3000)).width, a4.under((2000, 3000)).height) == (297, 210)
    assert numbers.under((2000, 3000)) == numbers
    assert "30x20cm would fit it better" in numbers.hint((2000, 3000))
    assert not numbers.hint((3000, 2000))
    assert not numbers.hint((1000, 1010))  # as good as square
    assert not Paper(10, 10, "cm").hint((3, 2))
    assert not Paper(10, 10, "cm").hint((5, 5))


@pytest.mark.parametrize("kind", ["RGB", "LA", "I;16", "float"])
def test_padded_files(renderer, tmp_path, monkeypatch, kind):
    """The rendering as without a border, in white, or in nothing where there is transparency."""
    monkeypatch.setattr(prints, "BAND", 100)  # several bands of border
    channels, dtype, white = {
        "RGB": (3, np.uint8, [255] * 3),
        "LA": (2, np.uint8, [255, 0]),
        "I;16": (1, np.uint16, [65535]),
        "float": (3, np.float32, [1.0] * 3),
    }[kind]
    source = levels(20, 30, channels, dtype)
    tifffile.imwrite(
        tmp_path / "a.tif",
        source,
        photometric="rgb" if channels == 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if kind == "LA" else None,
    )
    render_file(renderer, tmp_path / "a.tif", tmp_path / "b.tif", Wanted(resolution=(40, 60)))
    wanted = Wanted(resolution=(40, 101), fit="pad")
    done = render_file(renderer, tmp_path / "a.tif", tmp_path / "c.tif", wanted)
    assert (done.height, done.width) == (40, 101)
    plain, padded = (tifffile.imread(tmp_path / name) for name in ("b.tif", "c.tif"))
    plain, padded = plain.reshape(40, 60, channels), padded.reshape(40, 101, channels)
    np.testing.assert_array_equal(padded[:, 20:80], plain)
    assert (padded[:, :20] == white).all()
    assert (padded[:, 80:] == white).all()
    wanted = Wanted(resolution=(70, 60), fit="pad")
    render_file(renderer, tmp_path / "a.tif", tmp_path / "d.tif", wanted)
    padded = tifffile.imread(tmp_path / "d.tif").reshape(70, 60, channels)
    np.testing.assert_array_equal(padded[15:55], plain)
    assert (padded[:15] == white).all()
    assert (padded[55:] == white).all()


def test_a_cropped_file_is_the_region(renderer, tmp_path):
    Image.fromarray(levels(20, 32, 3, np.uint8)).save(tmp_path / "a.png")
    wanted = Wanted(resolution=(50, 50), fit="crop")
    done = render_file(renderer, tmp_path / "a.png", tmp_path / "b.png", wanted)
    assert done.notes == ("cropped to 20x20 of 20x32 pixels",)
    wanted = Wanted(resolution=(50, 50), region=Region(0, 6, 20, 20))
    assert not render_file(renderer, tmp_path / "a.png", tmp_path / "c.png", wanted).notes
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


def test_a_border_counts_as_pixels():
    with pytest.raises(UserError, match="1000x10 pixels are more than the 500"):
        Wanted(resolution=(1000, 10), max_pixels=500, fit="pad").grid((10, 10))


def test_a_print_needs_its_density():
    with pytest.raises(UserError, match="needs its dpi"):
        Wanted(paper=Paper(6, 4, "in")).grid((10, 10))


def test_prints_as_a_user_types_them(tmp_path):
    Image.fromarray(levels(20, 30, 3, np.uint8)).save(tmp_path / "a.png")
    args = ["--input", "a.png", *MODEL, "--output"]
    out = succeeds(tmp_path, "demo.py", *args, "o.png", "--print", "6x4cm", "--dpi", "127")
    assert out == "o.png: 200x300 pixels\n"
    assert Image.open(tmp_path / "o.png").size == (300, 200)
    succeeds(tmp_path, "demo.py", *args, "inches.png", "--print", "0.6x0.4in")
    assert Image.open(tmp_path / "inches.png").size == (180, 120)
    line = fails(tmp_path, "demo.py", *args, "p.png", "--print", "4x6cm", "--dpi", "127")
    assert "30 by 20 pixels do not have the shape of 4x6cm" in line
    assert all(f"--fit {name}" in line for name in ("crop", "pad", "stretch"))
    assert "(cuts off 56%)" in line  # 1 - (200 / 30) / (300 / 20)
    assert "the picture is wide and the paper is not: 6x4cm would fit it better" in line
    assert not (tmp_path / "p.png").exists()
    for fit, note in (("crop", "cropped to 20x13.3333 of"), ("stretch", "125% in height")):
        args_of = [*args, f"{fit}.png", "--print", "4x6cm", "--dpi", "127", "--fit", fit]
        done = run(tmp_path, "demo.py", *args_of)
        assert (done.returncode, note in done.stderr) == (0, True)
        assert Image.open(tmp_path / f"{fit}.png").size == (200, 300)


def test_a_folder_of_prints(tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(levels(20, 30, 3, np.uint8)).save(tmp_path / "in/wide.png")
    Image.fromarray(levels(30, 20, 3, np.uint8)).save(tmp_path / "in/tall.png")
    args = ["--input", "in", "--output", "out", "--print", "a6", "--dpi", "50.8", "--fit", "pad"]
    assert succeeds(tmp_path, "demo.py", *args, *MODEL).startswith("2 rendered")
    assert Image.open(tmp_path / "out/wide.png").size == (296, 210)
    assert Image.open(tmp_path / "out/tall.png").size == (210, 296)


def test_a_decimal_comma_is_asked_about(tmp_path):
    Image.fromarray(levels(5, 6, 3, np.uint8)).save(tmp_path / "a.png")
    args = ["--input", "a.png", *MODEL, "--output", "o.png", "--scale"]
    assert fails(tmp_path, "demo.py", *args, "3,07") == (
        "error: --scale 3,07 means rows x3 and columns x07, which changes the shape; "
        "for the number write 3.07; to stretch add --fit stretch"
    )
    assert not (tmp_path / "o.png").exists()
    assert "for the number write 0.5" in run(tmp_path, "demo.py", *args, "0,5").stderr
    done = run(tmp_path, "demo.py", *args, "3,7", "--fit", "stretch")
    assert (done.returncode, Image.open(tmp_path / "o.png").size) == (0, (42, 15))
    assert "stretched by 133% in width" in done.stderr
    (tmp_path / "o.png").unlink()
    done = run(tmp_path, "demo.py", *args, "2,3.5")
    assert (done.returncode, Image.open(tmp_path / "o.png").size) == (0, (21, 10))
    assert "stretched by 75% in width" in done.stderr
    (tmp_path / "o.png").unlink()
    done = run(tmp_path, "demo.py", *args, "2,2")
    assert (done.returncode, Image.open(tmp_path / "o.png").size) == (0, (12, 10))
    assert "write 2.2" in done.stderr
    (tmp_path / "o.png").unlink()
    done = run(tmp_path, "demo.py", *args[:-1], "--resolution", "10,10")
    assert (done.returncode, Image.open(tmp_path / "o.png").size) == (0, (10, 10))
    assert "stretched by 20% in height" in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--print", "6x4"], "such as 60x40cm"),
        (["--print", "6x4cm", "--dpi", "0"], "from 1 to 65535"),
        (["--print", "6x4cm", "--scale", "2"], "not allowed with"),
        (["--long-side", "20", "--fit", "pad"], "--long-side has none"),
        (["--scale", "2", "--fit", "pad", "--compare", "c.png"], "do not go together"),
    ],
)
def test_mistakes(tmp_path, args, message):
    Image.fromarray(levels(5, 6, 3, np.uint8)).save(tmp_path / "a.png")
    done = run(tmp_path, "demo.py", "--input", "a.png", *MODEL, *args)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
