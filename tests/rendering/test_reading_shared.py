"""Reading changes nothing that other threads see."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from datasets.header import read_header
from datasets.image_file import read_image
from errors import UserError
from models import make
from rendering.job import Wanted, render_file
from rendering.reading import read_bytes, read_picture
from rendering.tiles import Renderer
from tests.rendering.corpus import files, of_mode


def test_many_threads(tmp_path):
    """All read the same, while limit and filters are those of before, at every moment."""
    paths = []
    for name, data in files(13, 17).items():
        (tmp_path / name).write_bytes(data)
        paths.append(tmp_path / name)
    alone = {path: read_picture(path).pixels for path in paths}
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters), warnings.showwarning
    seen = []

    def read(path):
        pixels = read_picture(path).pixels
        seen.append((Image.MAX_IMAGE_PIXELS, list(warnings.filters), warnings.showwarning))
        if pixels.dtype != np.float32:
            read_image(path)
            read_header(path)
        return path, pixels

    with ThreadPoolExecutor(16) as pool:
        for path, pixels in pool.map(read, paths * 20):
            np.testing.assert_array_equal(pixels, alone[path])
    assert all(state == before for state in seen)


@pytest.mark.parametrize("name", sorted(files(13, 17)))
def test_pillows_limit_is_not_asked(monkeypatch, name):
    data = files(13, 17)[name]
    wanted = read_bytes(data, name).pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 13 * 17 - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_bytes(data, name).pixels, wanted)
    if not name.startswith("WEBP"):  # whose decoder asks it before it is opened
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 13 * 17 // 2 - 1)
        np.testing.assert_array_equal(read_bytes(data, name).pixels, wanted)


@pytest.mark.parametrize("name", sorted(files(13, 17)))
def test_the_largest_input(tmp_path, name):
    (tmp_path / name).write_bytes(files(13, 17)[name])
    assert read_picture(tmp_path / name, 13 * 17).size == (13, 17)
    message = "13x17 pixels are more than the 220 allowed: see --max-input-pixels"
    with pytest.raises(UserError, match=message):
        read_picture(tmp_path / name, 13 * 17 - 1)


def test_the_largest_input_of_a_rendering(tmp_path):
    of_mode("RGB", 5, 6).save(tmp_path / "x.png")
    renderer = Renderer(make({"name": "bicubic"}).eval())
    source, target = tmp_path / "x.png", tmp_path / "y.png"
    wanted = Wanted(scale=(2, 2), max_input_pixels=29)
    with pytest.raises(UserError, match="5x6 pixels are more than the 29 allowed"):
        render_file(renderer, source, target, wanted)
    assert render_file(renderer, source, target, replace(wanted, max_input_pixels=30)).height == 10


def test_the_content_of_a_file():
    buffer = io.BytesIO()
    of_mode("RGB", 5, 6).save(buffer, "PNG")
    assert read_bytes(buffer.getvalue(), "-").size == (5, 6)
    with pytest.raises(UserError, match=r"^-: .*it is empty"):
        read_bytes(b"", "-")
