"""Which files are pairs: each way to get it wrong is an error that names the files."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets.image_folder import PairedImageFolders
from errors import UserError


def fill(root, low, high):
    for side, names in (("LR", low), ("HR", high)):
        for name in names.split():
            path = root / side / name
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (4, 6) if side == "LR" else (8, 12)
            Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)


def pairs(root, **args):
    folders = PairedImageFolders(str(root / "LR"), str(root / "HR"), **args)
    found = [folders.files(i) for i in range(len(folders))]
    return [
        tuple(p.relative_to(root / s).as_posix() for p, s in zip(f, ("LR", "HR"), strict=True))
        for f in found
    ]


@pytest.mark.parametrize(
    ("low", "high", "named"),
    [
        ("ax2.png", "a.png a.jpg", "HR/a.jpg HR/a.png"),
        ("ax2.png ax2.jpg", "a.png a.jpg", "HR/a.jpg HR/a.png"),
        ("a.png", "a.png a.jpg", "HR/a.jpg HR/a.png"),
        ("ax2.png a.png", "a.png", "LR/a.png LR/ax2.png HR/a.png"),
        ("ax2.png ax2.jpg", "a.png", "LR/ax2.jpg LR/ax2.png HR/a.png"),
        ("a.png a.jpg", "a.png", "LR/a.jpg LR/a.png HR/a.png"),
        ("ax2.png ax3.png", "a.png", "LR/ax2.png LR/ax3.png HR/a.png pair_pattern"),
        ("ax2.png ax2.5.png b.png", "a.png b.png", "LR/ax2.5.png LR/ax2.png HR/a.png"),
        ("ax2.png", "a.png ax2.png", "HR/a.png HR/ax2.png LR/ax2.png"),
        ("ax2.png cx2.png", "a.png", "LR/cx2.png"),
        ("ax2.png", "a.png c.png", "HR/c.png"),
    ],
)
def test_no_pairs(tmp_path, low, high, named):
    fill(tmp_path, low, high)
    with pytest.raises(UserError) as error:
        pairs(tmp_path)
    message = str(error.value)
    assert "\n" not in message
    assert sorted(re.findall(r"[LH]R/[^ :;,]+", message)) == sorted(
        name for name in named.split() if "/" in name
    )
    assert ("pair_pattern" in named) <= ("pair_pattern" in message)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("ax2.png bx2.png", "a.png b.jpg"),
        ("ax2.png bx3.5.png", "a.png b.png"),
        ("a.png ax2.png", "a.png ax2.png"),
        ("ax2.png ax2x2.png", "a.png ax2.png"),
        ("photo_1920x1080.png", "photo_1920x1080.png"),
        ("photo_1920x1080x2.png", "photo_1920x1080.png"),
        ("boxx2.png cx2.png", "boxx2.png c.png"),
    ],
)
def test_right_pairs(tmp_path, low, high):
    fill(tmp_path, low, high)
    wanted = zip(low.split(), high.split(), strict=True)
    assert pairs(tmp_path) == sorted(wanted, key=lambda pair: pair[1])


def test_a_pattern_of_names(tmp_path):
    fill(tmp_path, "1_LR4.png 2_LR4.jpg 1_LR2.png 2_LR2.png readme.png", "1.png 2.png")
    assert pairs(tmp_path, pair_pattern="{stem}_LR4") == [
        *(("1_LR4.png", "1.png"), ("2_LR4.jpg", "2.png"))
    ]
    assert pairs(tmp_path, pair_pattern="{stem}_LR2", first_k=1) == [("1_LR2.png", "1.png")]
    with pytest.raises(UserError, match=r"HR/1\.png: has no partner in .*LR \(LR_1\)"):
        pairs(tmp_path, pair_pattern="LR_{stem}")
    fill(tmp_path, "3_LR4.png 1_LR4.jpg", "")
    with pytest.raises(UserError, match=r"1_LR4\.jpg and .*1_LR4\.png: both .*1\.png"):
        pairs(tmp_path, pair_pattern="{stem}_LR4")
    (tmp_path / "LR" / "1_LR4.jpg").unlink()
    with pytest.raises(UserError, match=r"3_LR4\.png: has no partner in .*HR"):
        pairs(tmp_path, pair_pattern="{stem}_LR4")


@pytest.mark.parametrize(
    "pattern", ["x4", "", "{stem}{stem}", "{stem}_{scale}", "a/{stem}", "{stem}x4.png", "{STEM}x4"]
)
def test_what_is_no_pattern(tmp_path, pattern):
    fill(tmp_path, "ax4.png", "a.png")
    with pytest.raises(UserError, match="pair_pattern"):
        pairs(tmp_path, pair_pattern=pattern)


def test_pairs_in_the_same_subfolder(tmp_path):
    fill(tmp_path, "s/1x2.png t/1x2.png", "s/1.png t/1.png")
    wanted = [("s/1x2.png", "s/1.png"), ("t/1x2.png", "t/1.png")]
    assert pairs(tmp_path, recursive=True) == wanted
    assert pairs(tmp_path, recursive=True, pair_pattern="{stem}x2") == wanted
    (tmp_path / "LR/t/1x2.png").rename(tmp_path / "LR/1x2.png")
    with pytest.raises(UserError, match=r"HR/t/1\.png: has no partner"):
        pairs(tmp_path, recursive=True)


def test_several_folders_pair_one_by_one(tmp_path):
    for name in "AB":
        fill(tmp_path / name, "1x2.png 2x2.png", "1.png 2.png")
    low, high = ([str(tmp_path / name / side) for name in "AB"] for side in ("LR", "HR"))
    folders = PairedImageFolders(low, high)
    assert len(folders) == folders.distinct == 4
    for i in range(4):
        small, large = folders.files(i)
        assert small.parents[1] == large.parents[1] == tmp_path / "AABB"[i]
        assert small.stem == f"{large.stem}x2"
        assert folders.size(i) == ((4, 6), (8, 12))
    with pytest.raises(UserError, match="root_path_1 has 1 folders and root_path_2 has 2"):
        PairedImageFolders(low[:1], high)


def test_a_split_names_the_high_files(tmp_path):
    fill(tmp_path, "1x2.png 2x2.png 3x2.png", "1.png 2.png 3.png")
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"val": ["3.png", "1.png"]}))
    wanted = [("3x2.png", "3.png"), ("1x2.png", "1.png")]
    assert pairs(tmp_path, split_file=str(split), split_key="val") == wanted
    fill(tmp_path, "3.png", "")
    with pytest.raises(UserError, match=r"LR/3\.png and .*LR/3x2\.png: both"):
        pairs(tmp_path, split_file=str(split), split_key="val")


def test_a_split_of_equal_names(tmp_path):
    fill(tmp_path, "s/1.png s/2.png", "s/1.png s/2.png")
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"val": ["s/2.png"]}))
    assert pairs(tmp_path, split_file=str(split), split_key="val") == [("s/2.png", "s/2.png")]


def test_yamls_take_lists_and_patterns(tmp_path):
    fill(tmp_path, "1_LR4.png", "1.png")
    args = {"root_path_1": [str(tmp_path / "LR")], "root_path_2": [str(tmp_path / "HR")]}
    spec = {"name": "paired-image-folders", "args": {**args, "pair_pattern": "{stem}_LR4"}}
    assert len(datasets.make(spec)) == 1
    for wrong in ([], [3], 3):
        with pytest.raises(UserError, match="root_path_1"):
            datasets.make({**spec, "args": {**spec["args"], "root_path_1": wrong}})
