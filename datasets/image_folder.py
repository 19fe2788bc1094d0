"""Folders of images, alone or paired."""

from __future__ import annotations

import glob
import json
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from configs.files import written_whole
from configs.spec import UserError
from datasets import register
from datasets.image_file import EXTENSIONS, read_image, to_unit

Repeat = Annotated[int, Field(gt=0, le=10**6)]
Cache = Literal["none", "bin", "in_memory"]


@register("image-folder")
class ImageFolder(Dataset[Tensor]):
    """The images of a folder, sorted by name; item i is float32 (3, H, W) in [0, 1].

    Args:
        root_path: The folder; files that are no images are skipped with a warning.
        split_file: JSON of name lists; the folder's images are then those of ``split_key``.
        split_key: Which list of the split file.
        first_k: Only the first k images.
        repeat: An epoch goes through the images this many times.
        cache: "none": decode at each access. "in_memory": decode once, keep 8-bit pixels. "bin":
            decode once into ``_cache_NAME`` beside the folder, read only the pixels that are used.
            All three give the same pixels.

    Raises:
        UserError: If the folder, the split or an image is missing or cannot be read.
    """

    def __init__(
        self,
        root_path: str,
        split_file: str | None = None,
        split_key: str | None = None,
        first_k: PositiveInt | None = None,
        repeat: Repeat = 1,
        cache: Cache | None = "none",
    ) -> None:
        self.repeat = repeat
        self.cache = cache
        self.root = Path(root_path)
        names = _list_images(self.root) if split_file is None else _split(split_file, split_key)
        self.files = [self.root / name for name in names]
        self.keep(range(len(self.files))[:first_k])

    def keep(self, indices: Sequence[int]) -> None:
        """Keep these images only, in this order, and fill the memory cache."""
        self.files = [self.files[i] for i in indices]
        self._held: list[Tensor] = []
        if self.cache == "in_memory":
            files = tqdm(self.files, desc=str(self.root), leave=False, disable=None)
            self._held = [torch.from_numpy(read_image(file)) for file in files]

    def __len__(self) -> int:
        return len(self.files) * self.repeat

    def file(self, index: int) -> Path:
        """The file of item ``index``."""
        return self.files[index % len(self.files)]

    def pixels(self, index: int) -> Tensor:
        """Item ``index`` as uint8 (3, H, W): a view where the cache allows, so cropping is free."""
        if self.cache == "bin":
            pixels = _cached(self.file(index))
        elif self._held:
            pixels = self._held[index % len(self.files)]
        else:
            pixels = torch.from_numpy(read_image(self.file(index)))
        return pixels.permute(2, 0, 1)

    def __getitem__(self, index: int) -> Tensor:
        return to_unit(self.pixels(index))


@register("paired-image-folders")
class PairedImageFolders(Dataset[tuple[Tensor, Tensor]]):
    """Two folders of the same images, paired by name; item i is (low, high), each (3, H, W).

    ``baby.png`` and ``0801.png`` have the partners ``babyx2.png`` and ``0801x2.png``, or the same
    name.

    Args:
        root_path_1: Low resolution.
        root_path_2: High resolution.
        split_file, split_key, first_k, repeat, cache: As of `ImageFolder`.

    Raises:
        UserError: As `ImageFolder`; or if an image has no partner.
    """

    def __init__(
        self,
        root_path_1: str,
        root_path_2: str,
        split_file: str | None = None,
        split_key: str | None = None,
        first_k: PositiveInt | None = None,
        repeat: Repeat = 1,
        cache: Cache | None = "none",
    ) -> None:
        # Paired before anything is cached, so that only the kept images are read.
        self.low, self.high = (
            ImageFolder(root, split_file, split_key, None, repeat, "none")
            for root in (root_path_1, root_path_2)
        )
        low_of = _partners(self.low, self.high)
        kept = range(len(self.high.files))[:first_k]
        for folder, indices in ((self.low, [low_of[i] for i in kept]), (self.high, kept)):
            folder.cache = cache
            folder.keep(indices)

    def __len__(self) -> int:
        return len(self.high)

    def file(self, index: int) -> Path:
        """The high-resolution file of item ``index``."""
        return self.high.file(index)

    def pixels(self, index: int) -> tuple[Tensor, Tensor]:
        """Item ``index`` as a pair of uint8 (3, H, W)."""
        return self.low.pixels(index), self.high.pixels(index)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.low[index], self.high[index]


def _list_images(root: Path) -> list[str]:
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{root}: cannot read the image folder: {error.strerror}") from None
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    images = [e.name for e in entries if e.is_file() and Path(e.name).suffix.lower() in EXTENSIONS]
    kept = set(images)
    skipped = [entry.name for entry in entries if entry.name not in kept]
    if not images:
        raise UserError(f"{root}: no images here (of {', '.join(sorted(EXTENSIONS))})")
    if skipped:
        more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        warnings.warn(f"{root}: skipped, not images: {', '.join(skipped[:5])}{more}", stacklevel=4)
    return images


def _split(path: str, key: str | None) -> list[str]:
    try:
        split = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot read the split file: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: the split file is not JSON: {error}") from None
    names = split.get(key) if isinstance(split, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        known = ", ".join(map(repr, split)) if isinstance(split, dict) else "none"
        raise UserError(f"{path}: no list of names under the key {key!r}; its keys: {known}")
    if len(set(names)) < len(names):
        twice, _ = Counter(names).most_common(1)[0]
        raise UserError(f"{path}: {twice} is in the list {key!r} twice")
    return names


def _partners(low: ImageFolder, high: ImageFolder) -> list[int]:
    """For each high-resolution image the index of its low-resolution partner."""
    same = {file.stem: i for i, file in enumerate(low.files)}
    scaled = {re.sub(r"x\d+(\.\d+)?$", "", stem): i for stem, i in same.items()}
    partners: list[int | None] = []
    for names in (scaled, same, {**scaled, **same}):  # one rule for all, or else any for each
        partners = [names.get(file.stem) for file in high.files]
        found = [i for i in partners if i is not None]
        if len(found) == len(partners) and len(set(found)) == len(low.files):
            return found
    for file, partner in zip(high.files, partners, strict=True):
        if partner is None:
            raise UserError(f"{file}: has no partner in {low.root} ({file.stem}xS or {file.stem})")
    lonely = next(file for i, file in enumerate(low.files) if i not in partners)
    raise UserError(f"{lonely}: has no partner in {high.root}")


def _cached(file: Path) -> Tensor:
    """Pixels (H, W, 3) of an image, mapped from its cache file: only those used are read.

    The file is written first if it is missing, stale or damaged. Its name tells size and time of
    the image, so a changed image never meets an old cache. Written aside and renamed: a kill leaves
    no half file and two processes do no harm to each other.
    """
    try:
        status = file.stat()
    except OSError:
        raise UserError(f"{file}: no such image") from None
    folder = file.parent.parent / f"_cache_{file.parent.name}"
    path = folder / f"{file.name}.{status.st_size}.{status.st_mtime_ns}.npy"
    try:
        return _mapped(path)
    except (OSError, ValueError, RuntimeError):
        pixels = read_image(file)
    try:
        folder.mkdir(exist_ok=True)
        with written_whole(path) as part:
            np.save(part, pixels)
        for old in folder.glob(f"{glob.escape(file.name)}.*.*.npy"):
            if old != path:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write the image cache: {error.strerror}; "
            "use cache: in_memory or none"
        ) from None
    return torch.from_numpy(pixels)


def _mapped(path: Path) -> Tensor:
    """The uint8 array of an .npy file; ten times as fast as `np.load`, which parses each time."""
    start, shape = _layout(path)
    size = start + math.prod(shape)
    return torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)[start:].view(
        shape
    )


@cache
def _layout(path: Path) -> tuple[int, tuple[int, ...]]:
    """Where the array of an .npy file begins, and its shape."""
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not as np.save writes it")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    if dtype != np.uint8 or fortran or path.stat().st_size != start + math.prod(shape):
        raise ValueError("not the pixels of an image")
    return start, shape
