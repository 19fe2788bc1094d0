import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import datasets
from datasets import pixel_cache
from datasets.image_file import read_image
from datasets.image_folder import ImageFolder, PairedImageFolders
from errors import UserError

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)


def save(path, size=(6, 5), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if mode == "L" else (*size, len(mode))
    Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "photos"
    for name in ("b.png", "a.png", "c.PNG"):
        save(root / name)
    return root


def test_items_are_sorted_images(root):
    folder = ImageFolder(str(root))
    assert [file.name for file in folder.files] == ["a.png", "b.png", "c.PNG"]
    image = folder[1]
    assert image.dtype == torch.float32
    assert torch.equal(image, torch.from_numpy(read_image(root / "b.png")).permute(2, 0, 1) / 255)


def test_other_files_are_skipped_and_named(root):
    (root / "notes.txt").write_text("x")
    (root / "Thumbs.db").write_text("x")
    (root / ".hidden.png").write_text("x")
    (root / "sub.png").mkdir()
    with pytest.warns(UserWarning, match=r"Thumbs\.db, notes\.txt, sub\.png"):
        folder = ImageFolder(str(root))
    assert len(folder) == 3


def test_first_k_and_repeat(root):
    folder = ImageFolder(str(root), first_k=2, repeat=3)
    assert len(folder) == 6
    assert folder.file(5).name == "b.png"
    assert torch.equal(folder[5], folder[1])


def test_split(root, tmp_path):
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["c.PNG", "a.png"], "val": ["b.png"], "none": []}))
    folder = ImageFolder(str(root), str(split), "train")
    assert [file.name for file in folder.files] == ["c.PNG", "a.png"]
    for key in ("test", "none", None):
        with pytest.raises(UserError, match=r"split\.json.*'train', 'val'"):
            ImageFolder(str(root), str(split), key)
    split.write_text(json.dumps({"train": ["a.png", "b.png", "a.png"]}))
    with pytest.raises(UserError, match=r"a\.png is in the list 'train' twice"):
        ImageFolder(str(root), str(split), "train")
    split.write_bytes(json.dumps({"train": ["a.png"]}).encode("utf-8-sig"))
    assert len(ImageFolder(str(root), str(split), "train")) == 1
    split.write_text("{")
    with pytest.raises(UserError, match=r"split\.json.*JSON"):
        ImageFolder(str(root), str(split), "train")
    with pytest.raises(UserError, match=r"none\.json"):
        ImageFolder(str(root), str(tmp_path / "none.json"), "train")


@pytest.mark.parametrize("make", ["missing", "file", "empty", "hidden"])
def test_a_folder_without_images(tmp_path, make):
    path = tmp_path / make
    if make == "file":
        path.write_text("x")
    elif make != "missing":
        path.mkdir()
        (path / {"empty": "readme.txt", "hidden": "._a.png"}[make]).write_text("x")
    with pytest.raises(UserError, match=make):
        ImageFolder(str(path))


def test_all_caches_give_the_same_pixels(tmp_path):
    root = tmp_path / "mixed"
    for name, mode in {"rgb": "RGB", "gray": "L", "alpha": "RGBA"}.items():
        save(root / f"{name}.png", mode=mode)
    Image.fromarray(RNG.integers(0, 65536, (6, 5), dtype=np.uint16)).save(root / "sixteen.png")
    Image.fromarray(RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)).quantize(9).save(
        root / "p.png"
    )
    plain, held, stored = (
        ImageFolder(str(root), cache=cache) for cache in ("none", "in_memory", "bin")
    )
    for _ in range(2):
        for i in range(5):
            assert torch.equal(plain[i], held[i])
            assert torch.equal(plain[i], stored[i])
    assert held.pixels(0).dtype == stored.pixels(0).dtype == torch.uint8


def cache_files(root):
    return sorted(p.name for p in (root.parent / f"_cache_{root.name}").iterdir())


def test_bin_cache_follows_the_image(root):
    folder = ImageFolder(str(root), cache="bin")
    before = folder[0]
    (name,) = cache_files(root)
    save(root / "a.png", size=(9, 4))
    os.utime(root / "a.png", ns=(1, 1))
    after = folder[0]
    assert after.shape == (3, 9, 4)
    assert not torch.equal(before, after)
    ImageFolder(str(root), cache="bin")  # clears away what is stale
    assert cache_files(root) != [name]
    assert len(cache_files(root)) == 1


def test_bin_cache_keeps_images_whose_names_begin_alike(root):
    save(root / "a.png.1.png")
    folder = ImageFolder(str(root), cache="bin")
    for i in range(len(folder)):
        folder[i]
    folder[0]
    assert len(cache_files(root)) == 4


def test_bin_cache_is_never_half_written(root, monkeypatch):
    def fails(file, array):
        file.write(b"\x93NUMPY half")
        raise OSError(28, "No space left on device")

    folder = ImageFolder(str(root), cache="bin")
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", fails)
        with pytest.raises(UserError, match=r"_cache_photos.*No space left.*in_memory"):
            folder[0]
    assert cache_files(root) == []
    assert torch.equal(folder[0], ImageFolder(str(root))[0])


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"x" * 500, "shorter", "float"])
def test_a_damaged_cache_file_is_made_anew(root, damage):
    folder, plain = ImageFolder(str(root), cache="bin"), ImageFolder(str(root))
    folder[0]
    (name,) = cache_files(root)
    path = root.parent / "_cache_photos" / name
    if damage == "shorter":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "float":
        np.save(path, np.zeros((4, 5, 3)))
    else:
        path.write_bytes(damage)
    assert torch.equal(folder[0], plain[0])
    assert torch.equal(pixel_cache._mapped(path).permute(2, 0, 1), plain.pixels(0))


KILLED = """
import os, signal, sys
import numpy as np
from datasets.image_folder import ImageFolder

def half(file, array):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

np.save = half
ImageFolder(sys.argv[1], cache="bin")[0]
"""


def test_a_kill_while_the_cache_is_written_does_no_harm(root):
    done = subprocess.run([sys.executable, "-c", KILLED, str(root)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = cache_files(root)
    assert left.endswith(".part")
    folder, plain = ImageFolder(str(root), cache="bin"), ImageFolder(str(root))
    assert torch.equal(folder[0], plain[0])
    assert left in cache_files(root)  # its writer might be alive on another machine
    old = time.time() - 2 * 3600
    os.utime(root.parent / "_cache_photos" / left, (old, old))
    ImageFolder(str(root), cache="bin")
    assert left not in cache_files(root)
    assert len(cache_files(root)) == 1


def test_pickles_of_the_published_code_are_not_read(root):
    old = root.parent / "_bin_photos"
    old.mkdir()
    (old / "a.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert torch.equal(ImageFolder(str(root), cache="bin")[0], ImageFolder(str(root))[0])


def read_all(root):
    folder = ImageFolder(root, cache="bin")
    return [folder[i].sum().item() for i in range(len(folder))]


def test_bin_cache_is_filled_by_several_processes_at_once(tmp_path):
    root = tmp_path / "many"
    for i in range(12):
        save(root / f"{i}.png", size=(40, 40))
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        results = pool.map(read_all, [str(root)] * 3)
    assert results[0] == results[1] == results[2]
    assert len(cache_files(root)) == 12


@pytest.fixture
def pair(tmp_path):
    for name in ("baby", "0801", "same"):
        save(tmp_path / "HR" / f"{name}.png", size=(8, 12))
    for name in ("babyx2", "0801x2", "same"):
        save(tmp_path / "LR" / f"{name}.png", size=(4, 6))
    return tmp_path


def paired(root, **args):
    return PairedImageFolders(str(root / "LR"), str(root / "HR"), **args)


def test_pairs_are_matched_by_name(pair):
    folders = paired(pair)
    names = [
        (low.name, high.name)
        for low, high in zip(folders.low.files, folders.high.files, strict=True)
    ]
    assert names == [("0801x2.png", "0801.png"), ("babyx2.png", "baby.png"), ("same.png",) * 2]
    low, high = folders[1]
    assert low.shape == (3, 4, 6)
    assert torch.equal(high, ImageFolder(str(pair / "HR"))[1])


def test_pairs_take_the_same_keywords(pair):
    for cache in ("none", "in_memory", "bin"):
        folders = paired(pair, first_k=2, repeat=3, cache=cache)
        assert len(folders) == 6
        assert folders.file(5).name == "baby.png"
        assert torch.equal(folders[5][0], paired(pair)[1][0])
    assert len(folders.low.files) == 2


@pytest.mark.parametrize(("side", "name"), [("LR", "0801x2.png"), ("HR", "baby.png")])
def test_a_missing_partner_is_named(pair, side, name):
    (pair / side / name).unlink()
    lonely = {"0801x2.png": r"0801\.png", "baby.png": r"babyx2\.png"}[name]
    with pytest.raises(UserError, match=lonely):
        paired(pair)


def test_names_that_end_like_a_scale_pair_with_themselves(tmp_path):
    for name in ("boxx2", "box"):
        save(tmp_path / "HR" / f"{name}.png")
        save(tmp_path / "LR" / f"{name}x2.png")
    folders = paired(tmp_path)
    assert [f.name for f in folders.low.files] == ["boxx2.png", "boxx2x2.png"]


def test_registry_refuses_an_unknown_cache(root):
    spec = {"name": "image-folder", "args": {"root_path": str(root), "cache": "disk"}}
    with pytest.raises(UserError, match="cache"):
        datasets.make(spec)


def test_no_warnings_where_all_is_well(root):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageFolder(str(root), cache="bin")[0]
