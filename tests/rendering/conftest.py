"""What tests of rendering render with."""

from functools import cache

import pytest

import models
from rendering.job import Wanted, render_file
from rendering.tiles import Renderer
from tests.rendering.spoken import ENDINGS


@pytest.fixture(scope="module")
def renderer():
    """That of bicubic interpolation."""
    return Renderer(models.make({"name": "bicubic"}).eval())


@pytest.fixture(scope="module")
def through(renderer, tmp_path_factory):
    """Renders the content of a file twice as large; returns that of the output, and the notes."""
    folder = tmp_path_factory.mktemp("through")

    @cache
    def render(data, target, **options):
        (folder / "input").write_bytes(data)
        output = folder / f"output.{ENDINGS[target]}"
        wanted = Wanted(**{"scale": (2, 2), **options})
        done = render_file(renderer, folder / "input", output, wanted)
        return output.read_bytes(), done.notes

    return render
