"""Pictures through standard input and output."""

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

from errors import UserError
from rendering.standard import check_standard_output, read_standard
from tests.programs import ROOT, run
from tests.rendering.corpus import levels

TWICE = ["--model", "bicubic", "--scale", "2"]


@pytest.fixture
def png(tmp_path):
    Image.fromarray(levels(9, 7, 3, np.uint8)).save(tmp_path / "in.png")
    return (tmp_path / "in.png").read_bytes()


@pytest.fixture
def pipe(tmp_path, monkeypatch, capfdbinary):
    """A command that is given bytes; what it exits with, says, and writes to the descriptor 1."""

    def pipe(data, *args):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        done = run(tmp_path, "demo.py", *TWICE, *args)
        return done, capfdbinary.readouterr().out

    return pipe


def test_from_and_to_a_pipe(tmp_path, png):
    command = [sys.executable, str(ROOT / "demo.py"), *TWICE, "--input", "-", "--output", "-"]
    done = subprocess.run(command, cwd=tmp_path, input=png, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"stdout: 18x14 pixels\n")
    run(tmp_path, "demo.py", *TWICE, "--input", "in.png", "--output", "out.png")
    assert done.stdout == (tmp_path / "out.png").read_bytes()
    assert imagecodecs.png_decode(done.stdout).shape == (18, 14, 3)


def test_other_formats(tmp_path, png, pipe):
    _, data = pipe(b"", "--input", "in.png", "--output", "-", "--ext", "TIF")
    assert tifffile.imread(io.BytesIO(data)).shape == (18, 14, 3)
    deep = imagecodecs.png_encode(levels(9, 7, 4, np.uint16))
    done, data = pipe(deep, "--input", "-", "--output", "o.webp")
    assert (done.stdout, data) == ("o.webp: 18x14 pixels\n", b"")
    assert "stdin: WEBP has no pixels of uint16" in done.stderr
    assert Image.open(tmp_path / "o.webp").size == (14, 18)


def test_what_goes_wrong_with_pipes(tmp_path, png, pipe, monkeypatch):
    def error(data, *args):
        done, written = pipe(data, *args)
        assert (done.returncode, done.stdout, written) == (1, "", b"")
        (line,) = done.stderr.splitlines()
        return line

    through = ("--input", "-", "--output", "-")
    assert error(b"", *through) == "error: stdin: is empty; pipe a picture into it"
    assert "error: stdin: not an image of" in error(b"nothing", *through)
    assert "error: stdin: " in error(png[:60], *through)
    assert "--ext xyz: no image format" in error(png, *through, "--ext", "xyz")
    monkeypatch.setattr("rendering.reading.MAX_BYTES", 50)
    few = (*through, "--max-input-pixels", "3")
    assert error(png, *few) == "error: stdin: has more than 50 bytes"
    enough = ("--max-input-pixels", str(len(png)))  # as of a file, more pixels may take more bytes
    assert pipe(png, *through, *enough)[0].returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"in.png"}


def test_a_full_disk(png, pipe):
    own, full = os.dup(1), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 1)
    try:
        done, _ = pipe(png, "--input", "-", "--output", "-")
    finally:
        os.dup2(own, 1)
        for number in (own, full):
            os.close(number)
    assert done.returncode == 1
    assert done.stderr == "error: stdout: No space left on device\n"


def test_terminals_and_closed_pipes(monkeypatch):
    own, terminal = pty.openpty()
    with os.fdopen(own, "wb"), os.fdopen(terminal, "r+b", buffering=0) as file:
        stream = io.TextIOWrapper(io.BufferedReader(file))
        monkeypatch.setattr(sys, "stdin", stream)
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(UserError, match="stdout: is a terminal; redirect it"):
            check_standard_output()
        with pytest.raises(UserError, match="stdin: is a terminal; pipe a picture"):
            read_standard()
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(UserError, match="stdout: is closed"):
        check_standard_output()
    with pytest.raises(UserError, match="stdin: is closed"):
        read_standard()
