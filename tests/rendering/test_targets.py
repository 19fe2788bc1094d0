import os
from pathlib import Path

import pytest

from errors import UserError
from rendering import sources
from rendering.targets import check_targets, is_folder, plan


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in/deep").mkdir(parents=True)
    for name in ("a.png", "b.JPG", "deep/c.tif"):
        Path("in", name).touch()


def targets(made):
    return {str(task.source): str(task.target) for task in made.tasks}


def test_names():
    assert targets(plan(["in"], "out")) == {
        "in/a.png": "out/a.png",
        "in/b.JPG": "out/b.JPG",
        "in/deep/c.tif": "out/deep/c.tif",
    }
    assert targets(plan(["in"], "in", "_x2", ".webp")) == {
        "in/a.png": "in/a_x2.webp",
        "in/b.JPG": "in/b_x2.webp",
        "in/deep/c.tif": "in/deep/c_x2.webp",
    }


def test_formats_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(sources, "ENDINGS", {*sources.ENDINGS, ".heic", ".gif"})
    for name in ("1.HEIC", "2.heic", "3.gif"):
        Path("in", name).touch()
    made = plan(["in"], "out")
    written = set(targets(made).values())
    assert {"out/1.jpg", "out/2.jpg", "out/3.png"} < written
    assert made.notes == ["2 .heic as .jpg: --ext chooses", "1 .gif as .png: --ext chooses"]
    assert plan(["in"], "out", ending=".tif").notes == []
    Path("scan").touch()
    assert targets(plan(["scan"], "out/")) == {"scan": "out/scan.png"}


def test_results_that_would_share_a_name():
    Path("in/a.bmp").touch()
    Path("in/deep/c.png").touch()
    Path("in/deep/c.webp").touch()
    made = plan(["in"], "out", ending=".png")
    assert targets(made) == {"in/b.JPG": "out/b.png"}
    named = {line.split(": not rendered: ")[0] for line in made.failed}
    assert named == {*("in/a.bmp", "in/a.png", "in/deep/c.png", "in/deep/c.tif", "in/deep/c.webp")}
    assert "in/a.png would have the same output, out/a.png" in made.failed[0]
    assert not plan(["in"], "out").failed


def test_names_of_different_roots():
    Path("more").mkdir()
    Path("more/a.png").touch()
    made = plan(["in/*.png", "more/*.png"], "out")
    assert (len(made.tasks), len(made.failed)) == (0, 2)
    assert len(plan(["in", "more"], "out").tasks) == 4


def test_results_that_would_share_a_file_by_a_link():
    Path("in/again").mkdir()
    Path("in/again/c.tif").touch()
    Path("out/deep").mkdir(parents=True)
    Path("out/again").symlink_to("deep")
    made = plan(["in"], "out")
    assert (len(made.tasks), len(made.failed)) == (2, 2)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_inputs_are_never_outputs(link):
    Path("in/b.png").touch()  # not made by this program: an input
    made = plan(["in"], "in", ending=".png")
    assert targets(made) == {"in/deep/c.tif": "in/deep/c.png"}
    assert len(made.failed) == 3
    Path("in/b.png").unlink()
    Path("out").mkdir()
    link(Path("in/a.png").resolve(), "out/b.JPG")
    made = plan(["in"], "out")
    assert set(targets(made)) == {"in/a.png", "in/deep/c.tif"}
    assert "in/b.JPG: the output would replace the input in/a.png" in made.failed[0]
    made = plan(["in"], "in/../in")
    assert len(made.failed) == 3
    assert all("the output would replace it;" in line for line in made.failed)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_single_outputs(link):
    check_targets({"--output": "new.png", "--compare": "c.png"}, "in/a.png", False)
    link(Path("in/a.png").resolve(), "link.png")
    for path in ("in/a.png", "in/deep/../a.png", "link.png"):
        for overwrite in (False, True):
            with pytest.raises(UserError, match=r"in/a\.png: the output would replace it"):
                check_targets({"--zoom-video": path}, "in/a.png", overwrite)
    Path("old.png").touch()
    with pytest.raises(UserError, match=r"old\.png: is there already; --overwrite replaces it"):
        check_targets({"--compare": "old.png"}, "in/a.png", False)
    check_targets({"--compare": "old.png"}, "in/a.png", True)
    with pytest.raises(UserError, match="--output and --compare name the same file"):
        check_targets({"--output": "x.png", "--compare": "in/../x.png"}, "in/a.png", True)


def test_folders():
    assert is_folder("in") and is_folder("new/")
    assert not is_folder("new") and not is_folder("in/a.png") and not is_folder(None)
    with pytest.raises(UserError, match="is a file; for several inputs name a folder"):
        plan(["in"], "in/a.png")
    assert not Path("new").exists()
