"""Measure the speed of training samples.

    python -m benchmarks.bench_data --size 2040 1400

It reports samples per second of `sr-implicit-downsampled` (48 pixels, x1 to x4, 2,304 queries) by
cache mode and number of workers, on generated PNGs like photographs, and the memory that the pixels
occupy. With --literal, each mode is compared with a literal pipeline: whole float images, all
coordinates, then a choice. With --degraded, it is compared with the samples of another training:

    python -m benchmarks.bench_data --degraded configs/train-degraded/train_photo-liif.yaml

With --files, it reports instead the milliseconds per file that the caches take with that many small
files, compared with decoding them:

    python -m benchmarks.bench_data --files 4000
"""

from __future__ import annotations

import argparse
import itertools
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize, to_pil_image, to_tensor

import datasets
import models
from benchmarks.measure import in_turn, report
from cli.command import run
from configs.load import load_train
from datasets.loader import BatchLoader
from datasets.wrappers import Sample
from errors import UserError
from training.recipe import optimizers
from utils import make_coord

CACHES = ("none", "in_memory", "bin")
SAMPLING = {"inp_size": 48, "scale_min": 1, "scale_max": 4, "augment": True, "sample_q": 2304}
IMAGES = 4
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of training samples.")
    parser.add_argument("--size", type=int, nargs=2, default=[2040, 1400], metavar=("W", "H"))
    parser.add_argument("--cache", nargs="+", choices=CACHES, default=list(CACHES))
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2], help="of a loader")
    parser.add_argument("--samples", type=int, default=64, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--literal", action="store_true", help="time a literal pipeline too")
    parser.add_argument("--degraded", metavar="YAML", help="time the samples of this training too")
    parser.add_argument("--files", type=int, metavar="N", help="time caches of N small files")
    args = parser.parse_args()
    if args.files is not None and args.files < 8:
        raise UserError("--files: expected 8 or more")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "HR"
        if args.files is not None:
            report("files", torch.device("cpu"), measure_files(root, args.files))
            return
        make_images(root, *args.size)
        rows = [row for cache in args.cache for row in measure(root, cache, args)]
    report("data", torch.device("cpu"), rows)


def make_images(root: Path, width: int, height: int) -> None:
    """Write images of clouds with fine grain, whose PNGs are as large as those of photographs."""
    root.mkdir()
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (height // 40, width // 40, 3), np.uint8))
        clouds = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        grain = rng.normal(0, 4, clouds.shape)
        pixels = np.clip(np.rint(clouds + grain), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")


def measure_files(root: Path, count: int) -> list[dict[str, Any]]:
    """Measure ``count`` small files and an eighth of them; equal times mean linear cost."""
    rows = []
    for number in (count // 8, count):
        folder = root / str(number)
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "first.png")
        for i in range(1, number):
            shutil.copyfile(folder / "first.png", folder / f"{i}.png")
        row: dict[str, Any] = {"files": number, "decode ms": read_all(folder, "none")}
        row["bin, first ms"], row["bin, then ms"] = (read_all(folder, "bin") for _ in range(2))
        row["in_memory ms"] = read_all(folder, "in_memory")
        rows.append(row)
    return rows


def read_all(root: Path, cache: str) -> float:
    """Measure the milliseconds per file for making a dataset and reading each image."""
    start = time.perf_counter()
    spec = {"name": "image-folder", "args": {"root_path": str(root), "cache": cache}}
    dataset = datasets.make(spec)
    for index in range(len(dataset)):
        dataset[index]
    return 1e3 * (time.perf_counter() - start) / len(dataset)


def measure(root: Path, cache: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the rows of one cache mode: samples one by one, then batches of a loader."""
    options = {"root_path": str(root), "cache": cache, "repeat": args.samples}
    folder = {"name": "image-folder", "args": options}
    spec = {"name": "sr-implicit-downsampled", "args": SAMPLING}
    samples = datasets.make(spec, args={"dataset": datasets.make(folder)})
    functions = {"ours": walk(samples, args.samples)}
    megabytes = {"ours": samples.dataset.held_bytes / 1e6}
    if args.degraded:
        registries = {"models": models.registry, "datasets": datasets.registry}
        config = load_train(args.degraded, optimizers=optimizers, **registries)
        degraded = datasets.make(config.train_dataset.wrapper, args={"dataset": samples.dataset})
        functions["degraded"] = walk(degraded, args.samples)
        megabytes["degraded"] = megabytes["ours"]
    if args.literal:
        literal = LiteralSamples(root, cache)
        functions["literal"] = walk(literal, args.samples)
        megabytes["literal"] = sum(x.nbytes for x in literal.held) / 1e6
    seconds = in_turn(functions, args.rounds, torch.device("cpu"))
    rows = []
    for kind, took in seconds.items():
        row = {"cache": cache, "workers": "-", "pipeline": kind, "samples/s": args.samples / took}
        faster = seconds["literal"] / took if args.literal else "-"
        rows.append({**row, "times faster": faster, "MB held": megabytes[kind]})
    for workers in args.workers:
        rate = loader_rate(samples, workers, args)
        row = {"cache": cache, "workers": workers, "pipeline": "loader", "samples/s": rate}
        rows.append({**row, "times faster": "-", "MB held": megabytes["ours"]})
    return rows


def walk(samples: Any, count: int) -> Callable[[], None]:
    """Make a function that reads the next ``count`` samples at every call."""
    keys = itertools.count()

    def read() -> None:
        for key in itertools.islice(keys, count):
            samples[key]

    return read


def loader_rate(samples: Any, workers: int, args: argparse.Namespace) -> float:
    loader = BatchLoader(samples, BATCH, num_workers=workers)

    def read() -> None:
        for _ in loader:
            pass

    return len(samples) / in_turn({"loader": read}, args.rounds, torch.device("cpu"))["loader"]


class LiteralSamples:
    """A dataset with the sampling rule written out on whole float images.

    The cache "bin" is a pickle of the whole 8-bit image, "in_memory" a float tensor.
    """

    def __init__(self, root: Path, cache: str) -> None:
        self.cache = cache
        self.files = sorted(root.glob("*.png"))
        self.held: list[Tensor] = []
        if cache == "bin":
            for file in self.files:
                file.with_suffix(".pkl").write_bytes(pickle.dumps(np.asarray(Image.open(file))))
        if cache == "in_memory":
            self.held = [to_tensor(Image.open(file)) for file in self.files]

    def image(self, index: int) -> Tensor:
        if self.held:
            return self.held[index]
        if self.cache == "bin":
            return to_tensor(pickle.loads(self.files[index].with_suffix(".pkl").read_bytes()))
        return to_tensor(Image.open(self.files[index]).convert("RGB"))

    def __getitem__(self, key: int) -> Sample:
        image = self.image(key % len(self.files))
        rng = np.random.default_rng(key)
        size = SAMPLING["inp_size"]
        side = round(size * rng.uniform(SAMPLING["scale_min"], SAMPLING["scale_max"]))
        top, left = (int(rng.integers(n - side + 1)) for n in image.shape[-2:])
        high = image[:, top : top + side, left : left + side]
        small = resize(to_pil_image(high), [size, size], InterpolationMode.BICUBIC)
        low = to_tensor(small)
        for flips, dims in zip(rng.random(3) < 0.5, ((-1,), (-2,), None), strict=True):
            if flips:
                low, high = (
                    x.transpose(-1, -2) if dims is None else x.flip(dims) for x in (low, high)
                )
        coord = make_coord(high.shape[-2:])
        gt = high.reshape(3, -1).T
        picked = rng.choice(len(coord), SAMPLING["sample_q"], replace=False)
        coord, gt = coord[picked], gt[picked]
        cell = torch.ones_like(coord)
        cell[:, 0] *= 2 / high.shape[-2]
        cell[:, 1] *= 2 / high.shape[-1]
        return {"inp": low, "coord": coord, "cell": cell, "gt": gt}


if __name__ == "__main__":
    run(main)
