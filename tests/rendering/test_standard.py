"""Pictures through pipes, as a shell makes them."""

import io
import os
import pty
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.rendering.corpus import levels
from tests.test_programs import ROOT

TWICE = [sys.executable, str(ROOT / "demo.py"), "--model", "bicubic", "--scale", "2"]


@pytest.fixture
def png(tmp_path):
    Image.fromarray(levels(9, 7, 3, np.uint8)).save(tmp_path / "in.png")
    return (tmp_path / "in.png").read_bytes()


def pipe(folder, data, *args, **files):
    files = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **files}
    given = {} if "stdin" in files else {"input": data}
    return subprocess.run([*TWICE, *args], cwd=folder, **given, **files, check=False)


def test_from_and_to_a_pipe(tmp_path, png):
    done = pipe(tmp_path, png, "--input", "-", "--output", "-")
    assert (done.returncode, done.stderr) == (0, b"stdout: 18x14 pixels\n")
    pipe(tmp_path, b"", "--input", "in.png", "--output", "out.png")
    assert done.stdout == (tmp_path / "out.png").read_bytes()
    assert imagecodecs.png_decode(done.stdout).shape == (18, 14, 3)


def test_other_formats(tmp_path, png):
    done = pipe(tmp_path, png, "--input", "in.png", "--output", "-", "--ext", "TIF")
    assert tifffile.imread(io.BytesIO(done.stdout)).shape == (18, 14, 3)
    deep = imagecodecs.png_encode(levels(9, 7, 4, np.uint16))
    done = pipe(tmp_path, deep, "--input", "-", "--output", "o.webp")
    assert done.stdout == b"o.webp: 18x14 pixels\n"
    assert b"stdin: WEBP has no pixels of uint16" in done.stderr


def test_what_goes_wrong_with_pipes(tmp_path, png):
    def error(data, *args, **files):
        done = pipe(tmp_path, data, *args, **files)
        assert done.returncode == 1
        assert not done.stdout
        (line,) = done.stderr.decode().splitlines()
        return line

    through = ("--input", "-", "--output", "-")
    assert error(b"", *through) == "error: stdin: is empty; pipe a picture into it"
    assert "error: stdin: not an image of" in error(b"nothing", *through)
    assert "error: stdin: " in error(png[:60], *through)
    own, terminal = pty.openpty()
    told = "error: stdout: is a terminal; redirect it to a file or a pipe"
    assert error(png, *through, stdout=terminal) == told
    told = "error: stdin: is a terminal; pipe a picture into it"
    assert error(None, *through, stdin=terminal) == told
    for number in (own, terminal):
        os.close(number)
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = pipe(tmp_path, png, *through, stdout=full)
    assert done.returncode == 1
    assert b"error: stdout: No space left on device" in done.stderr
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *TWICE, *through],
        cwd=tmp_path,
        input=png,
        capture_output=True,
        check=False,
    )
    assert (closed.returncode, closed.stdout) == (1, b"")
    assert b"error: stdout: is closed" in closed.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"in.png"}
