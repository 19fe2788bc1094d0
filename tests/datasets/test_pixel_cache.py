"""Caches of decoded images: cost per file, and memory that worker processes share."""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import pixel_cache
from datasets.image_file import UnreadableError
from datasets.image_folder import ImageFolder
from datasets.listing import ImageFiles
from datasets.pixel_cache import HeldImages
from errors import UserError

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)


def fill(root, count, side=4):
    root.mkdir(parents=True)
    for i in range(count):
        pixels = RNG.integers(0, 256, (side, side + 1, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{i:05d}.bmp")
    return root


def calls(monkeypatch, names):
    """How often each of these functions of os is called."""
    counts = dict.fromkeys(names, 0)
    for name in names:
        original = getattr(os, name)

        def counted(*args, name=name, original=original, **options):
            counts[name] += 1
            return original(*args, **options)

        monkeypatch.setattr(os, name, counted)
    return counts


def test_folders_are_listed_once_and_nothing_waits_for_the_disk(tmp_path, monkeypatch):
    fill(tmp_path / "a", 20)
    counts = calls(monkeypatch, ["scandir", "listdir", "fsync"])
    folder = ImageFolder(str(tmp_path / "a"), cache="bin")
    made = counts["scandir"]
    for _ in range(2):
        for i in range(20):
            folder[i]
    assert made <= 2
    assert counts == {"scandir": made, "listdir": 0, "fsync": 0}


def test_only_changed_images_lose_their_cache(tmp_path):
    root = fill(tmp_path / "a", 3)
    (root / "00000.bmp").rename(root / "00001.bmp.1.2.bmp")  # begins as another
    folders = [ImageFolder(str(root), cache="bin", channels=channels) for channels in (3, 1)]
    for folder in folders:
        [folder[i] for i in range(3)]
    cache = tmp_path / "_cache_a"
    (cache / "of another image.5.6.npy").write_bytes(b"kept")
    before = {path.name for path in cache.iterdir()}
    assert len(before) == 7
    os.utime(root / "00001.bmp", ns=(5, 5))
    ImageFolder(str(root), cache="bin")
    gone = before - {path.name for path in cache.iterdir()}
    assert len(gone) == 2
    assert all(name.startswith("00001.bmp.") for name in gone)


def test_a_cache_of_gray_is_not_one_of_colours(tmp_path):
    root = fill(tmp_path / "a", 1)
    for channels in (3, 1, 3, 1):
        stored = ImageFolder(str(root), cache="bin", channels=channels)
        assert torch.equal(stored[0], ImageFolder(str(root), channels=channels)[0])


def test_caches_keep_16_bits(tmp_path):
    levels = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    (tmp_path / "a").mkdir()
    Image.fromarray(levels).save(tmp_path / "a" / "x.png")
    for cache in ("none", "in_memory", "bin", "bin"):
        folder = ImageFolder(str(tmp_path / "a"), cache=cache, channels=1)
        assert folder.pixels(0).dtype == torch.uint16
        np.testing.assert_array_equal(folder.pixels(0)[0].numpy(), levels)
        wanted = (levels.astype(np.float64) / 65535).astype(np.float32)
        np.testing.assert_allclose(folder[0][0].numpy(), wanted, rtol=1e-7)


def test_folders_below_have_caches_beside_them(tmp_path):
    fill(tmp_path / "all" / "a", 2)
    fill(tmp_path / "all" / "b", 2)
    for _ in range(2):
        folder = ImageFolder(str(tmp_path / "all"), cache="bin", recursive=True)
        assert len(folder) == 4
        [folder[i] for i in range(4)]
    assert {path.name for path in (tmp_path / "all").iterdir()} == {
        *("a", "b", "_cache_a", "_cache_b")
    }


def test_unreadable_images_in_memory_are_told_where_they_are_used(tmp_path):
    root = fill(tmp_path / "a", 3)
    (root / "00001.bmp").write_bytes(b"BM")
    folder = ImageFolder(str(root), cache="in_memory", repeat=2)
    assert list(folder.failures) == [1]
    assert torch.equal(folder[5], ImageFolder(str(root))[2])
    for index in (1, 4):
        with pytest.raises(UnreadableError, match=r"00001\.bmp: not a readable image"):
            folder[index]


IMAGES = [
    np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
    np.arange(15, dtype=np.uint8).reshape(5, 3, 1),
    np.arange(0, 60000, 10000, dtype=np.uint16).reshape(2, 3, 1),
]


def of_image(held, index):
    return held[index].numpy().copy(), held[index].dtype


def test_held_images_are_views_of_one_mapping():
    held = HeldImages(IMAGES)
    places = [held[i].untyped_storage().data_ptr() for i in range(3)]
    assert len(set(places)) == 1
    assert held.nbytes == 24 + 16 + 12
    for held_too in (held, pickle.loads(pickle.dumps(held))):
        for i, image in enumerate(IMAGES):
            np.testing.assert_array_equal(held_too[i].numpy(), image)
            assert held_too[i].numpy().dtype == image.dtype


def test_a_process_that_writes_changes_its_own_images_only():
    held = HeldImages(IMAGES)
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=lambda: held[0].fill_(7))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert held[0].sum() == 276


def test_without_memory_files_it_is_one_on_disk(monkeypatch, tmp_path):
    def refuses(name):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", refuses)
    monkeypatch.setattr(pixel_cache.tempfile, "tempdir", str(tmp_path))
    held = HeldImages(IMAGES)
    assert torch.equal(held[1], torch.from_numpy(IMAGES[1]))
    assert not list(tmp_path.iterdir())


def test_no_room_in_memory_is_said(monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(pixel_cache, "_nameless_file", Full)
    with pytest.raises(UserError, match=r"in_memory: no room .*No space left.*cache: bin"):
        HeldImages(IMAGES)


WORKERS = """
import json, os, resource, sys, warnings
import torch
from torch.utils.data import DataLoader, Dataset
from datasets.image_folder import ImageFolder

class Looking(Dataset):
    '''Sums of pixels, and the file that is mapped, as (device, inode).'''
    def __init__(self, folder):
        self.folder = folder
    def __len__(self):
        return len(self.folder)
    def __getitem__(self, index):
        total = int(self.folder.pixels(index).sum())
        lines = open("/proc/self/maps").read().splitlines() if index % 500 == 0 else []
        (inode,) = {int(line.split()[4]) for line in lines if "memfd:images" in line} or {0}
        return total, inode, os.getpid()

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    folder = ImageFolder(sys.argv[1], cache="in_memory")
    inode = os.fstat(folder._held._file.fileno()).st_ino
    loader = DataLoader(Looking(folder), batch_size=50, num_workers=2,
                        multiprocessing_context=sys.argv[2])
    rows = torch.cat([torch.stack(batch, 1) for batch in loader])
    print(json.dumps({
        "sum": rows[:, 0].sum().item(), "first": rows[:5, 0].tolist(), "count": len(rows),
        "inodes": sorted({i - inode for i in rows[:, 1].tolist() if i}),
        "away": os.getpid() not in rows[:, 2].tolist(),
    }))
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("many") / "images", 2000)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    "start",
    ["fork", *(pytest.param(way, marks=pytest.mark.slow) for way in ("forkserver", "spawn"))],
)
def test_workers_share_the_memory_whatever_starts_them(many, tmp_path, start):
    """2,000 images, and no process may have more than 128 files open."""
    (tmp_path / "workers.py").write_text(WORKERS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, tmp_path / "workers.py", many, start],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    sums = [int(np.asarray(Image.open(path)).sum()) for path in sorted(many.iterdir())]
    assert json.loads(done.stdout) == {
        **{"sum": sum(sums), "first": sums[:5], "count": 2000},
        **{"inodes": [0], "away": True},
    }


def test_a_dataset_of_100_000_files_is_pickled_small_and_soon():
    names = [f"folder/sub/{i:08d}.png" for i in range(100_000)]
    files = ImageFiles([Path("/data/of/somebody/on/a/disk")], [0] * len(names), names)
    start = time.perf_counter()
    again = pickle.loads(pickle.dumps(files))
    assert time.perf_counter() - start < 0.5
    assert len(pickle.dumps(files)) < 4e6
    assert again[99_999] == files[-1] == files.roots[0] / "folder/sub/00099999.png"
    held = HeldImages(np.zeros((1, 1, 3), np.uint8) for _ in range(1000))
    assert len(pickle.dumps(held._layout)) < 50_000


def test_the_working_folder_has_its_cache_beside_it(tmp_path, monkeypatch):
    fill(tmp_path / "a", 2)
    fill(tmp_path / "a" / "b", 1)
    for inside, root in (("a", "."), ("a/b", "..")):
        monkeypatch.chdir(tmp_path / inside)
        with warnings.catch_warnings(record=True):
            assert len(ImageFolder(root, cache="bin")[1]) == 3
        assert [path.name[:9] for path in (tmp_path / "_cache_a").iterdir()] == ["00001.bmp"]
