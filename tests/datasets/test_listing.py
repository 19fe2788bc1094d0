"""Which images a dataset has."""

import json
import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import patience
from datasets.image_folder import ImageFolder
from datasets.listing import list_images
from errors import UserError

RNG = np.random.default_rng(0)


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)).save(path)


def names(folder, root):
    return [file.relative_to(root).as_posix() for file in folder.files]


@pytest.fixture
def tree(tmp_path):
    for name in ("b.png", "a/2.png", "a/1.png", "a/deep/er/x.jpg", "c/1.png"):
        save(tmp_path / "A" / name)
    for name in (".hidden/x.png", "_cache_a/x.png", "a/.x.png", "a/_cache_deep/y.png"):
        save(tmp_path / "A" / name)
    save(tmp_path / "B" / "0.png")
    return tmp_path


def test_several_folders_one_after_the_other(tree):
    folder = ImageFolder([str(tree / "B"), str(tree / "A" / "a")])
    assert names(folder, tree) == ["B/0.png", "A/a/1.png", "A/a/2.png"]
    assert torch.equal(folder[1], ImageFolder(str(tree / "A" / "a"))[0])
    assert folder.distinct == len(folder) == 3
    with pytest.raises(UserError, match="names no folder"):
        ImageFolder([])
    with pytest.raises(UserError, match="nowhere"):
        ImageFolder([str(tree / "B"), str(tree / "nowhere")])


def test_recursive(tree):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = ImageFolder([str(tree / "B"), str(tree / "A")], recursive=True)
    assert names(folder, tree) == [
        *("B/0.png", "A/a/1.png", "A/a/2.png", "A/a/deep/er/x.jpg", "A/b.png", "A/c/1.png")
    ]
    (tree / "A" / "a" / "deep" / "notes.txt").write_text("x")
    (tree / "A" / "gone.png").symlink_to(tree / "nowhere.png")
    with pytest.warns(UserWarning, match=r"not images: a/deep/notes\.txt, gone\.png$"):
        ImageFolder(str(tree / "A"), recursive=True)


def test_links_are_followed_but_not_round_in_circles(tree):
    (tree / "A" / "linked").symlink_to(tree / "B")
    (tree / "A" / "a" / "above").symlink_to(tree / "A")
    (tree / "B" / "back").symlink_to(tree / "A" / "a")
    found = list_images([tree / "A"], recursive=True).names
    assert "linked/0.png" in found
    assert "linked/back/1.png" in found
    assert not [name for name in found if "above" in name]
    assert len(found) == len(set(found)) == 9


def test_folders_in_a_folder_without_images_are_hinted_at(tree):
    (tree / "A" / "b.png").unlink()
    with pytest.raises(UserError, match=r"A: no images here .*recursive: true"):
        ImageFolder(str(tree / "A"))


def test_a_split_names_files_relative_to_the_folders(tree):
    split = tree / "split.json"
    roots = [str(tree / "A"), str(tree / "B")]
    split.write_text(json.dumps({"x": ["0.png", "c/1.png", "b.png"]}))
    folder = ImageFolder(roots, str(split), "x")
    assert names(folder, tree) == ["B/0.png", "A/c/1.png", "A/b.png"]
    save(tree / "B" / "b.png")
    with pytest.raises(UserError, match=r"b\.png is both .*A/b\.png and .*B/b\.png"):
        ImageFolder(roots, str(split), "x")
    split.write_text(json.dumps({"x": ["b.png", "d/1.png", "c/2.png"]}))
    with pytest.raises(UserError, match=r"split\.json: .*'x' not in .*A: d/1\.png, c/2\.png"):
        ImageFolder(str(tree / "A"), str(split), "x")
    with pytest.raises(UserError, match="nowhere: no such image folder"):
        ImageFolder(str(tree / "nowhere"), str(split), "x")


def test_home_and_variables_in_paths(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    monkeypatch.setenv("SETS", str(tree / "A"))
    (tree / "split.json").write_text(json.dumps({"x": ["1.png"]}))
    folder = ImageFolder(["$SETS/a", "~/B"], "${SETS}/../split.json", "x")
    assert folder.file(0) == tree / "A" / "a" / "1.png"
    with pytest.raises(UserError, match="no environment variable NOSETS"):
        ImageFolder("$NOSETS/a")


def test_a_disk_that_fails_for_a_moment_is_listed(tree, monkeypatch):
    monkeypatch.setattr(patience, "WAITS", (0, 0))
    failures = [OSError(5, "Input/output error"), OSError(116, "Stale file handle")]
    original = os.scandir

    def flaky(path):
        if failures:
            raise failures.pop()
        return original(path)

    monkeypatch.setattr(os, "scandir", flaky)
    assert len(ImageFolder(str(tree / "B"))) == 1
    assert not failures
