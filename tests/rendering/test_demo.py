"""The rendering command, as a user types it."""

import contextlib
import re
import signal
import subprocess
import sys
import time

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from parallel import Group
from tests.programs import ROOT, fails, run, succeeds
from tests.rendering.corpus import levels
from tests.training import ranks

MODEL = ["--model", "bicubic"]


@pytest.fixture
def work(tmp_path):
    """A folder with an image of 16 bits, one with transparency, and one in a folder within."""
    (tmp_path / "in/deep").mkdir(parents=True)
    deep = levels(20, 30, 3, np.uint16)
    (tmp_path / "in/sixteen.png").write_bytes(imagecodecs.png_encode(deep))
    Image.fromarray(levels(21, 17, 4, np.uint8)).save(tmp_path / "in/glass.png")
    Image.fromarray(levels(9, 9, 1, np.uint8)[..., 0]).save(tmp_path / "in/deep/gray.png")
    return tmp_path


def test_depth_and_alpha_stay(work):
    for name, shape, dtype in (
        ("sixteen", (50, 75, 3), np.uint16),
        ("glass", (52, 42, 4), np.uint8),
    ):
        for ending in ("png", "tif"):
            args = ["--input", f"in/{name}.png", "--output", f"{name}.{ending}", "--scale", "2.5"]
            succeeds(work, "demo.py", *args, *MODEL)
            data = (work / f"{name}.{ending}").read_bytes()
            decode = imagecodecs.png_decode if ending == "png" else None
            got = decode(data) if decode else tifffile.imread(work / f"{name}.tif")
            assert (got.shape, got.dtype) == (shape, dtype)


def test_what_gets_lost_is_said(work):
    args = ["--input", "in/glass.png", "--output", "o.jpg", "--long-side", "50"]
    done = run(work, "demo.py", *args, *MODEL)
    assert done.returncode == 0
    assert done.stderr == "in/glass.png: JPEG has no transparency here: put on white\n"
    assert Image.open(work / "o.jpg").size == (40, 50)


def test_a_file_of_the_user_is_kept_and_told(work):
    args = ["--input", "in", "--output", "out", "--scale", "2", *MODEL]
    (work / "out").mkdir()
    (work / "out/glass.png").write_bytes(b"mine")
    done = run(work, "demo.py", *args)
    assert done.returncode == 1  # not all inputs have their outputs
    assert "out/glass.png: was there already, and not made by this program" in done.stdout
    assert (work / "out/glass.png").read_bytes() == b"mine"
    assert run(work, "demo.py", *args, "--overwrite").returncode == 0
    assert Image.open(work / "out/glass.png").size == (34, 42)


def test_a_region_and_tiles_change_nothing(photos, tmp_path):
    args = ["--input", "photos/0.png", "--model", "m.pth", "--scale", "2.5"]
    succeeds(photos, "demo.py", *args, "--output", tmp_path / "whole.png")
    whole = np.asarray(Image.open(tmp_path / "whole.png")).astype(int)
    for tile in (16, 33):
        output = ["--output", tmp_path / "t.png", "--overwrite"]
        succeeds(photos, "demo.py", *args, "--tile", tile, *output)
        tiled = np.asarray(Image.open(tmp_path / "t.png")).astype(int)
        assert np.abs(tiled - whole).max() <= 1
        assert (tiled != whole).mean() <= 1e-3
    region = ["--region", "10,20,40,30", "--output", tmp_path / "part.png"]
    succeeds(photos, "demo.py", *args, *region)
    part = np.asarray(Image.open(tmp_path / "part.png")).astype(int)
    assert np.abs(part - whole[25:125, 50:125]).max() <= 1


def test_a_folder(work):
    args = ["--input", "in", "--output", "out", "--scale", "2", "--suffix", "_x2", *MODEL]
    out = succeeds(work, "demo.py", *args, "--ext", "tif")
    assert out == "3 rendered, 0 were there already, 0 failed\n"
    assert tifffile.imread(work / "out/deep/gray_x2.tif").shape == (18, 18)
    assert tifffile.imread(work / "out/sixteen_x2.tif").dtype == np.uint16
    (work / "in/bad.png").write_bytes(b"nothing")
    error = fails(work, "demo.py", *args, "--ext", "tif")
    assert error.startswith("error: in/bad.png: not an image of PNG, JPEG, BMP, TIFF, WEBP, PPM")
    out = run(work, "demo.py", *args, "--ext", "tif").stdout
    assert out.startswith("0 rendered, 3 were there already, 1 failed\n  in/bad.png: ")
    out = run(work, "demo.py", *args, "--ext", ".tif", "--overwrite").stdout
    assert out.startswith("3 rendered")
    pattern = ["--input", "in/*s*.png", "--output", "some", "--scale", "2", *MODEL]
    assert succeeds(work, "demo.py", *pattern).startswith("2 rendered")


def test_several_processes_share_a_folder(work):
    (work / "in/bad.png").write_bytes(b"nothing")
    args = ["--input", "in", "--output", "out", "--scale", "2", *MODEL, "--gpu", "cpu,cpu"]
    done = subprocess.run(
        [sys.executable, ROOT / "demo.py", *args], cwd=work, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "3 rendered, 0 were there already, 1 failed"
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.count("error: in/bad.png") == 1
    assert len(list((work / "out").rglob("*.png"))) == 3


def test_processes_tell_one_progress_and_what_was_made(work):
    program = work / "often.py"  # a line for each band
    program.write_text(
        "import runpy, rendering.pace\n"
        "rendering.pace.INTERVAL = rendering.pace.TALK = 0\n"
        f"runpy.run_path({str(ROOT / 'demo.py')!r}, run_name='__main__')\n"
    )
    (work / "in/x.dng").touch()
    (work / "in/glass.bmp").write_bytes((work / "in/glass.png").read_bytes())
    args = ["--input", "in", "--output", "out", "--scale", "2", *MODEL, "--gpu", "cpu"]
    run(work, "demo.py", *args, "--ext", "png")
    (work / "out/sixteen.png").unlink()
    Image.fromarray(levels(9, 8, 1, np.uint8)[..., 0]).save(work / "in/new.png")
    out, error = ranks.Ranks(work, 2, program, *args, "--ext", "png").finish(1, 1)
    assert out.startswith("2 rendered, 1 were there already, 2 failed\n")
    assert out.endswith("1 not read: 1 .dng\n")
    assert error.count("error: in/glass.") == 2  # before any work, by one of them
    assert error.index("error: in/glass.png") < error.index("images: ")
    told = re.findall(r"images: (\d) of 2 images, 0.0 of 0.0 Mpixel", error)
    assert told == sorted(told)
    assert len(list((work / "out").rglob("*.png"))) == 3
    done = run(work, "demo.py", *args, "--ext", "png")
    assert done.stdout.startswith("0 rendered, 3 were there already, 2 failed\n")


def test_one_file_into_a_folder(work):
    args = ["--input", "in/glass.png", "--scale", "2", *MODEL]
    assert succeeds(work, "demo.py", *args, "--output", "new/").startswith("1 rendered")
    size = (34, 42)
    assert Image.open(work / "new/glass.png").size == size
    more = ["--suffix", "_x2", "--ext", "tif", "--compare", "c.png"]
    succeeds(work, "demo.py", *args, "--output", "new", *more)
    assert Image.open(work / "new/glass_x2.tif").size == size
    assert (work / "c.png").exists()
    clash = ["--output", "new", "--suffix", "_2", "--compare", "new/glass_2.png"]
    assert "--compare and --output name the same" in fails(work, "demo.py", *args, *clash)
    before = (work / "in/glass.png").read_bytes()
    assert "the output would replace it" in fails(work, "demo.py", *args, "--output", "in")
    assert (work / "in/glass.png").read_bytes() == before


def test_several_files(work):
    args = ["--scale", "2", *MODEL, "--input", "in/glass.png", "in/deep/gray.png", "none.png"]
    done = run(work, "demo.py", *args, "--output", "out")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "2 rendered, 0 were there already, 1 failed",
        "  none.png: no such image",
    ]
    assert {path.name for path in (work / "out").glob("*.png")} == {"glass.png", "gray.png"}


@pytest.mark.parametrize("rank", [0, 1])
def test_one_image_is_the_work_of_one_process(work, monkeypatch, rank):
    monkeypatch.setattr("parallel.joined", lambda gpu: contextlib.nullcontext(Group(rank, 2)))
    out = succeeds(work, "demo.py", "--input", "in/glass.png", "--scale", "2", *MODEL)
    assert (work / "output.png").exists() == (rank == 0)
    assert bool(out) == (rank == 0)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        (signal.SIGHUP, 129),
    ],
)
def test_when_stopped_nothing_is_left(work, number, status):
    args = ["--input", "in/glass.png", "--scale", "1000", "--output", "out/large.png", *MODEL]
    demo = ranks.Ranks(work, 1, "demo.py", *args)
    deadline = time.monotonic() + 60
    while not [file for file in work.glob("out/.*.part") if file.stat().st_size > 10**5]:
        assert time.monotonic() < deadline, demo.said("err")
        time.sleep(0.01)
    demo.signal(0, number)
    demo.finish(status)
    assert not list((work / "out").iterdir())


def test_looks(work):
    args = ["--input", "in/sixteen.png", "--scale", "4", *MODEL, "--compare", "c.png"]
    out = succeeds(work, "demo.py", *args)
    assert "c.png: input, bicubic and bicubic" in out
    assert (work / "c.png").exists()
    assert not (work / "output.png").exists()
    before = (work / "c.png").read_bytes()
    there = "c.png: is there already; --overwrite replaces it"
    assert there in fails(work, "demo.py", *args, "--output", "o.png")
    assert not (work / "o.png").exists()
    succeeds(work, "demo.py", *args, "--output", "o.png", "--overwrite")
    assert (work / "o.png").exists()
    assert (work / "c.png").read_bytes() == before


def test_mistakes(work):
    def error(*args, **changes):
        given = {"input": "in/glass.png", "output": "o.png", "scale": "2", **changes}
        flat = [x for key, value in given.items() for x in (f"--{key}", value)]
        return fails(work, "demo.py", *flat, *MODEL, *args)

    (work / "one.png").write_bytes((work / "in/deep/gray.png").read_bytes())
    assert "one.png: is a file; for several" in error(input="in", output="one.png")
    assert "take one image" in error("--compare", "c.png", input="in", output="out")
    assert "--ext xyz: no image format" in error("--ext", "xyz", input="in", output="out")
    assert "--suffix a/b: is a part" in error("--suffix", "a/b", input="in", output="out")
    assert "--suffix is for a folder" in error("--suffix", "_x2")
    assert "--ext is for a folder" in error("--ext", "tif")
    assert "--zoom-at needs --zoom-video" in error("--zoom-at", "1,1")
    assert "does not go together" in error("--region", "0,0,2,2", "--compare", "c.png")
    assert "z.avi: a video is" in error("--zoom-video", "z.avi")
    assert "is no zoom" in error("--zoom-video", "z.gif", scale="0.5")
    assert "the output would replace it" in error(input="one.png", output="one.png")
    (work / "o.png").unlink()  # which came before the video
    assert "one.png: the output would" in error("--compare", "one.png", input="one.png")
    assert "--compare and --output name the same" in error(
        "--compare", "../" + work.name + "/o.png"
    )
    assert "-: is one picture" in error(input="in", output="-")
    assert "-: is one picture" in error(input="-", output="in")
    assert "take one image, from a file" in error("--compare", "c.png", input="-")
    assert "not within the image of 21x17" in error("--region", "0,0,22,3")
    assert "--max-pixels" in error(scale="100000")
    assert "more than the 10 allowed" in error("--max-pixels", "10")
    assert "in/nothing: no such image" in error(input="in/nothing")
    for option in ("input", "output", "compare", "zoom-video"):
        assert f"--{option}: the name is empty" in error(**{"output": "out", option: ""})
    assert not (work / "out").exists()
    assert "no/*.png: no images" in error(input="no/*.png", output="out")
    done = run(work, "demo.py", "--input", "in", "--scale", "2", *MODEL)
    assert "for several inputs name a folder" in done.stderr
    for option, value in (
        ("--region", "1,2,3"),
        ("--tile", "-1"),
        ("--quality", "101"),
        ("--long-side", "0"),
        ("--zoom-at", "x"),
        ("--resolution", "3"),
    ):
        assert run(work, "demo.py", "--input", "x.png", f"{option}={value}").returncode == 2
    assert not (work / "o.png").exists()


def test_help_is_quick():
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, ROOT / "demo.py", "--help"], check=True, capture_output=True
        )
        times.append(time.perf_counter() - start)
    assert min(times) < 1
