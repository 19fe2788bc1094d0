import os
from pathlib import Path

import pytest
from PIL import Image

from viewing.gallery import Gallery, UnknownError


def test_every_photograph_has_an_address_of_its_own(tmp_path):
    paths = []
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (3, 2)).save(tmp_path / folder / "x.png")
        paths.append(tmp_path / folder / "x.png")
    gallery = Gallery(paths)
    assert [photograph.id for photograph in gallery] == ["x.png", "x-2.png", "x-3.png"]
    assert [photograph.path for photograph in gallery] == paths
    assert gallery.picture(gallery.find("x-2.png")).size == (2, 3)
    with pytest.raises(UnknownError):
        gallery.find("../a/x.png")


@pytest.mark.skipif(os.name == "nt", reason="names of files are text there")
def test_names_that_are_no_text(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    Image.new("RGB", (3, 2)).save(path)
    [photograph] = Gallery([path])
    assert photograph.id == photograph.name == "\ufffd.png"
    assert Gallery([path]).picture(photograph).size == (2, 3)
